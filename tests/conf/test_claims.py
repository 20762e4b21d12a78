"""The paper's claims: what is trained of them, and by what rule each gets its word."""

import json
from pathlib import Path

import numpy as np
import pytest

from inforeg_lightning.report import Run
from running.claims import reading, rows, tables, testing
from running.claims.deciding import CLAIMS, HYPOTHESES, closed, decide, explain
from running.claims.rows import ROWS, jobs
from running.claims.window import OnlyFor
from running.errors import RecipeError
from studies import claims

SEEDS = range(10)


@pytest.fixture
def kept():
    """Rows of equal numbers but for noise: nothing of the paper holds of them."""
    generator = np.random.default_rng(0)

    def row(name):
        views = "views" in name
        probes = [f"probe_{m}" for m in (rows.VIEWS if views else ("audio", "image"))]
        noise = {q: 0.6 + generator.normal(0, 0.01, 10) for q in ["accuracy", *probes]}
        quantities = [f"{q}_{m}" for q in ("share", "agreement", "trace", "held", "cosine")
                      for m in ("audio", "image")]  # fmt: skip
        measured = {q: 0.5 + generator.normal(0, 0.01, 10) for q in quantities}
        measured |= {
            f"cosine_{m}_{t}": np.full(10, 0.5) for m in ("audio", "image") for t in (0, 1)
        }
        listed = [{q: of.tolist() for q, of in found.items()} for found in (noise, measured)]
        title = ROWS[name].title if name in ROWS else name
        return {"title": title, "setting": [], "seeds": [*SEEDS]} | dict(
            zip(("test", "measured"), listed, strict=True)
        )

    ensembles = [f"ensemble{a}{b}" for a in ("", "_fitted") for b in ("", "_views")]
    return {"rows": {name: row(name) for name in [*ROWS, *ensembles]}}


def lift(kept, row, by, quantity="accuracy"):
    """Raise a quantity of a row."""
    for part in ("test", "measured"):
        of = kept["rows"][row][part]
        if quantity in of:
            of[quantity] = [value + by for value in of[quantity]]


def word(kept, claim):
    return decide(kept["rows"])[claim].word


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


# What is decided


def test_nothing_holds_of_noise(kept):
    decisions = decide(kept["rows"])
    assert [*decisions] == [*CLAIMS]
    assert {decision.word for decision in decisions.values()} == {"not here"}


@pytest.mark.parametrize(
    ("claim", "one", "other"),
    [
        ("b", "inforeg", "inforeg_star"),
        ("d", "inforeg_sum", "inforeg_film"),
    ],
)
def test_a_claim_holds_in_part_where_some_hypotheses_do(kept, claim, one, other):
    lift(kept, one, 0.1)
    lift(kept, other, -0.1)
    assert word(kept, claim) == "in part"


def test_a_claim_holds_where_all_hypotheses_do(kept):
    for row in ("inforeg", "inforeg_star", "inforeg_sum", "inforeg_gated", "inforeg_film"):
        lift(kept, row, 0.1)
    lift(kept, "inforeg_views", 0.1)
    assert [word(kept, claim) for claim in "bcde"] == ["holds"] * 4


def test_a_difference_the_other_way_is_not_what_is_claimed(kept):
    lift(kept, "inforeg_views", -0.3)
    decision = decide(kept["rows"])["e"]
    assert decision.tests[0].adjusted < 0.001
    assert decision.word == "not here"


@pytest.mark.parametrize(
    ("longer", "found"), [(0.1, "holds"), (0.2, "in part"), (0.3, "in part"), (-0.1, "holds")]
)
def test_longer_training_repairs_where_it_closes_half_of_the_gap(kept, longer, found):
    lift(kept, "image", 0.3, "probe_image")
    lift(kept, "joint_4x", longer, "probe_image")
    assert closed(kept["rows"], "joint_4x") == pytest.approx(longer / 0.3, abs=0.05)
    assert word(kept, "a") == found


def test_without_a_gap_nothing_starves(kept):
    lift(kept, "joint_4x", -0.3, "probe_image")
    assert word(kept, "a") == "not here"


@pytest.mark.parametrize(("best", "found"), [("inforeg", "in part"), ("beta_0.5", "not here")])
def test_a_parameter_that_matters_must_be_best_where_the_paper_has_it(kept, best, found):
    lift(kept, best, 0.1)
    lift(kept, "K_0.1", 0.2)  # so that K's best is elsewhere
    decision = decide(kept["rows"])["f"]
    assert decision.word == found
    assert decision.tests[0].adjusted < 0.05, "β matters in both"


@pytest.mark.parametrize(
    ("of", "found"), [((0.0, 0.0), "holds"), ((0.0, 0.5), "in part"), ((-0.5, 0.5), "not here")]
)
def test_gradients_are_orthogonal_within_a_bound_on_both_sides(kept, of, found):
    for modality, cosine in zip(("audio", "image"), of, strict=True):
        lift(kept, "cosines", cosine - 0.5, f"cosine_{modality}")
    assert word(kept, "g") == found


def test_traces_and_probes_decide_the_last_two(kept):
    lift(kept, "inforeg", 0.5, "trace_image")
    lift(kept, "inforeg", 0.1, "probe_image")
    assert (word(kept, "h"), word(kept, "i")) == ("holds", "holds")


def test_claims_without_rows_or_with_other_seeds_are_not_decided(kept):
    del kept["rows"]["cosines"], kept["rows"]["inforeg_sum"]
    kept["rows"]["joint_views"]["seeds"] = [*range(1, 11)]
    assert set(HYPOTHESES) - set(decide(kept["rows"])) == {"d", "e", "g"}


def test_hypotheses_that_are_not_tested_do_not_count_for_the_others(kept):
    lift(kept, "inforeg", 0.012)
    whole = decide(kept["rows"])["b"].tests[0]
    only = {name: kept["rows"][name] for name in ("joint", "inforeg", "joint_star", "inforeg_star")}
    alone = decide(only)["b"].tests[0]
    assert alone.p == whole.p
    assert alone.adjusted < whole.adjusted


def test_explanations_are_decided_by_their_predictions(kept):
    found = explain(kept["rows"])
    assert {decision.word for decision in found.values()} == {"not here"}
    lift(kept, "inforeg", 0.1)
    lift(kept, "inforeg_star", -0.1, "probe_audio")
    lift(kept, "joint_star", 0.3, "probe_image")
    lift(kept, "inforeg_star", 0.3, "probe_image")
    found = explain(kept["rows"])
    assert [decision.word for decision in found.values()] == [
        "holds",
        "in part",
        "holds",
        "not here",
    ]
    assert explain({"joint": kept["rows"]["joint"]}) == {}


def test_a_test_without_spread_is_decided_and_not_warned_of():
    assert testing.above_zero("x", "", [0.5, 0.5]).p == 0.0
    assert testing.above_zero("x", "", [0.0, 0.0]).p == 1.0
    assert (
        testing.differ("x", "", {1.0: [0.5, 0.6], 2.0: [0.5, 0.6], 3.0: [0.5, 0.6]}, 1.0).p == 1.0
    )


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
    del kept["rows"]["cosines"]
    assert "| Fig. 4 | **not trained yet** |" in tables.claims_table(kept)
    assert "**not trained yet**" in tables.claims_table({"rows": {}})


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
    made += [tables.star_table(kept), tables.readme_table(kept)]
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
