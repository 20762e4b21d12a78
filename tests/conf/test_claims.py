"""The paper's claims: what is trained of them, what is kept, and the tables made of it."""

import json
from pathlib import Path

import pytest

from helpers.claims import lift
from inforeg_lightning.report import Run
from running.claims import reading, rows, tables
from running.claims.deciding import HOLDS, IN_PART, NOT_HERE, decide
from running.claims.rows import ROWS, jobs
from running.claims.window import OnlyFor
from running.errors import RecipeError
from studies import claims

# What is trained


def test_runs_that_several_claims_need_are_trained_once():
    every = jobs([*rows.CLAIMS], [0, 1])
    assert len(every) == len({*every})
    assert jobs(["b", "h"], [0, 1]) == jobs(["b"], [0, 1])
    assert [job.seed for job in jobs(["h"], [0, 1])] == [0, 0, 1, 1], "seed by seed"


def test_every_row_belongs_to_a_claim():
    assert {row for of in rows.CLAIMS.values() for row in of} == {*ROWS}


def test_three_views_are_left_out_where_their_files_are_not(monkeypatch, tmp_path):
    monkeypatch.setattr(rows, "VIEWS_AT", tmp_path / "nothing")
    assert jobs(["e"], [0]) == []
    monkeypatch.setattr(rows, "VIEWS_AT", tmp_path)
    assert len(jobs(["e"], [0])) == 7


def test_every_row_composes_as_a_run_of_its_own(monkeypatch, tmp_path):
    from running import conduct

    monkeypatch.setattr(rows, "VIEWS_AT", tmp_path)
    monkeypatch.setattr(conduct, "check", lambda cfg: None)  # there are no files of the views here
    study = claims.STUDY
    asked = conduct.Asked("claims", study, study.methods, (0,), ("runs=x",), None, 1, "")
    plan = conduct._planned(asked, study.jobs(study.methods, [0]))
    assert len(plan) == len({planned.folder for planned in plan.values()}) == len(ROWS)
    epochs = {p.cfg.trainer.max_epochs for p in plan.values() if p.cfg.name == "av_digits"}
    assert epochs == {8, 16, 32}
    views = [p.cfg for p in plan.values() if p.cfg.name == "views"]
    assert {tuple(cfg.modalities) for cfg in views} == {rows.VIEWS, *((v,) for v in rows.VIEWS)}


def test_a_claim_that_there_is_not_is_one_error():
    with pytest.raises(RecipeError, match="--methods z: the claims are b, a, c"):
        claims.plan(["z"], [0])


def test_a_window_of_one_modality_never_opens_for_another():
    traces = {"audio": [1.0, 2.0], "image": [1.0, 2.0]}
    assert OnlyFor("audio")(traces) == {"audio": True, "image": False}
    assert OnlyFor("audio", K=0.6)(traces) == {"audio": False, "image": False}


# What is kept and shown


def test_a_history_becomes_one_number_per_quantity_and_modality():
    own = {"gap": {"a": 0.1}, "trace": {"a": 2.0}, "alpha": {"a": 1.5}}
    idle = {"gap": {"a": 0.1}, "trace": {"a": 4.0}, "alpha": {"a": None}}
    monitor = {"share": {"a": 0.25}, "agreement": {"a": None}, "trace": {"a": 99.0}}
    cosines = [{"cosine": {"a": 0.5}}, {"cosine": {"a": 0.0}}]
    assert reading.measured([own, idle, monitor, *cosines]) == {
        "trace_a": 6.0,
        "held_a": 1.0,
        "share_a": 0.25,
        "cosine_a": 0.25,
        "cosine_a_0": 0.5,
        "cosine_a_1": 0.0,
    }
    assert reading.measured([]) == {}


def test_what_is_kept_can_be_decided_and_drawn(monkeypatch):
    monkeypatch.setattr(reading, "ensembles", lambda *_: [])
    results = {}
    for name in ("joint", "inforeg"):
        for seed in (0, 1):
            part = {
                "test": {"accuracy": 0.5 + 0.1 * (name == "inforeg") + 0.01 * seed},
                "probe": {"audio": 0.5, "image": 0.6},
            }
            result = {"experiment": "toy", "method": "x", "title": "X", "seed": seed, "last": part}
            history = [{"gap": {}, "trace": {"image": 2.0}, "alpha": {"image": 0.0}}, {"share": {}}]
            run = Run(Path(f"{name}{seed}"), result | {"modalities": ["audio", "image"]}, history)
            results[ROWS[name].job(seed)] = run
    kept = json.loads(json.dumps(claims.keep([0, 1], results)))
    assert kept["rows"]["inforeg"]["test"]["accuracy"] == [0.6, 0.61]
    assert kept["rows"]["joint"]["measured"] == {
        "trace_image": [2.0, 2.0],
        "held_image": [0.0, 0.0],
    }
    assert set(decide(kept["rows"])) == {"h", "i"}
    drawn = reading.drawable(reading.runs_by_row([0, 1], results))
    assert {(run.result["method"], len(run.history)) for run in drawn} == {
        ("joint", 1),
        ("inforeg", 1),
    }


def test_tables_say_the_word_and_what_is_missing(kept):
    lift(kept, "image", 0.3, "probe_image")
    text = tables.claims_table(kept)
    assert "| a: joint training starves" in text
    assert "| Fig. 1, Table 1 | **holds** |" in text
    assert "- a1: image alone − joint training, probe: +" in text
    assert "over the 16 primary" in text
    assert "| Table 4 | **not here** |" in text
    del kept["rows"]["cosines"]
    assert "| Fig. 4 | not trained yet |" in tables.claims_table(kept)
    assert "| Table 4 | **not here** so far |" in tables.claims_table(kept)
    assert "| Table 4 | not trained yet |" in tables.claims_table({"rows": {}})


def test_every_table_of_av_digits_has_the_sceptics_rows(kept):
    comparison = json.loads(claims.COMPARISON.read_text())
    text = tables.rows_tables(kept, comparison)
    first = text.split("\n\n")[0]
    for title in ("Image alone", "Ensemble, fitted", "Joint training, half as long", "DGL"):
        assert f"| {title} † |" in first
    for title in ("InfoReg, gated", "DGL, FiLM", "pix alone, three views", "β = 0.9", "K = 0.04"):
        assert f"| {title} |" in text
    assert tables.rows_tables({"rows": {}}, comparison) == ""


def test_tables_of_all_kinds_fit_a_document(kept):
    comparison = json.loads(claims.COMPARISON.read_text())
    made = [tables.claims_table(kept), tables.rows_tables(kept, comparison)]
    made += [tables.star_table(kept), tables.demo_table(kept, comparison)]
    assert [line for text in made for line in text.splitlines() if len(line) > 159] == []


def test_the_table_of_why_says_where_there_is_nothing_to_explain(kept):
    text = tables.star_table(kept)
    assert [line.split(" | ")[0] for line in text.splitlines()[2:6]] == [
        "| 0",
        "| 0.1",
        "| 0.3",
        "| 1",
    ]
    assert "- The effect **is not there**:" in text
    assert "There is nothing to explain" in text


def test_the_table_of_the_demo_has_what_it_trains(kept):
    from studies import demo

    comparison = json.loads(claims.COMPARISON.read_text())
    lines = tables.demo_table(kept, comparison).splitlines()
    assert "10 seeds" in lines[0]
    assert tables.demo_table({"rows": {}}, comparison) == "Not trained yet."
    assert len(lines) - 2 == len([*demo.plan(demo.STUDY.methods, [0])])
    # Its row of unimodal losses is the comparison's: the same settings to the letter.
    row = comparison["rows"]["unimodal_losses_shared"]
    (job,) = (j for j in demo.plan(["unimodal_losses"], [0]) if "only" not in j.overrides[0])
    explicit = "++callbacks.unimodal_losses.unimodal_heads=shared"  # the default
    assert [o for o in row["setting"] if o != explicit] == [*job.overrides]


def test_the_readme_counts_as_the_rules_do():
    root = Path(__file__).resolve().parents[2]
    found = json.loads((root / "experiments" / "results" / "claims.json").read_text("utf-8"))
    words = [decision.word for decision in decide(found["rows"]).values()]
    assert [words.count(word) for word in (HOLDS, IN_PART, NOT_HERE)] == [3, 1, 5]
    readme = " ".join((root / "README.md").read_text("utf-8").split())
    assert (
        "three hold here, one in part (with a gated head InfoReg harms), and five do not" in readme
    )
