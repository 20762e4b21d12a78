"""The worlds whose answer is known: drawn alike by anyone, answered as documented, judged anew."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inforeg_lightning.diagnosis import STARVED, Thresholds
from inforeg_lightning.diagnosis.measures import measure
from running.truth.families import FAMILIES, FRESH, all_worlds
from running.truth.judging import confusion, examine, judge_all, judged, summary
from running.truth.networks import runs_of
from running.truth.oracle import answer, differences

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results" / "truth.json"
WORLDS = {world.name: world for world in all_worlds()}


def test_there_are_at_least_120_worlds_each_of_another_name_and_seed():
    fresh = sum(world.number >= FRESH for world in WORLDS.values())
    assert len(WORLDS) - fresh == sum(count for _, count in FAMILIES.values()) >= 120
    assert fresh >= 120
    assert len({world.seed for world in WORLDS.values()}) == len(WORLDS)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_world_is_drawn_alike_and_its_samples_by_their_seed(family):
    world = replace(WORLDS[f"{family}-00"], train=64, held_out=32)
    one, same, other = world.draw(0), world.draw(0), world.draw(1)
    assert {m: x.shape[1] for m, x in one["test"].items() if m != "label"} == world.widths
    for split in ("train", "validation", "test"):
        assert all(torch.equal(one[split][k], same[split][k]) for k in one[split])
        assert not torch.equal(one[split]["a"], other[split]["a"])


def test_what_a_source_shows():
    world = WORLDS["half each-00"]
    still = {m: replace(s, strength=1e3) for m, s in world.sources.items()}
    batch = replace(world, sources=still).draw(0)["train"]
    for name, group in (("a", batch["label"] // 2), ("b", batch["label"] % 2)):
        centres = torch.stack([batch[name][group == g].mean(dim=0) for g in (0, 1)])
        nearest = torch.cdist(batch[name], centres).argmin(dim=1)
        assert torch.equal(nearest, group)


ACCURACIES = {
    "chance": 0.25,
    "fused": 0.90,
    "refit": 0.90,
    "alone a": 0.80,
    "alone b": 0.70,
    "drop a": 0.4,
    "drop b": 0.3,
    "replaced a": 0.90,
    "replaced b": 0.91,
    "all replaced": 0.91,
}


def oracle(error=0.0, **changes):
    of = ACCURACIES | {name.replace("_", " "): value for name, value in changes.items()}
    alike = {name: [value, value] for name, value in of.items()}
    measured = of | {n: x[0] for n, x in differences(alike, ["a", "b"]).items()}
    return answer({name: [value, error] for name, value in measured.items()}, ["a", "b"])


def test_the_oracle_s_answers():
    assert oracle().verdict == "healthy"
    starved = oracle(replaced_b=0.95)
    assert (starved.verdict, starved.states["b"]) == ("starved", "starved")
    weak = oracle(alone_b=0.25, drop_b=0.0)
    assert (weak.verdict, weak.states["b"]) == ("weak by nature", "weak by nature")
    # Below one alone: by a modality that knows nothing, or beyond what encoders mend.
    assert oracle(alone_a=0.96, alone_b=0.25, drop_b=0.0).verdict == "fusion harms"
    assert oracle(alone_a=0.96).verdict == "fusion harms"
    assert oracle(alone_a=0.96, replaced_a=0.95).verdict == "starved"


def test_the_oracle_has_no_answer_on_an_edge_or_where_its_seeds_differ():
    assert oracle(replaced_b=0.92).verdict == ""
    assert oracle(alone_b=0.30, drop_b=0.02).states["b"] == ""
    assert oracle(replaced_b=0.95, error=0.04).verdict == ""


@pytest.mark.slow
def test_one_world_by_the_trainer_and_all_at_once():
    world = replace(WORLDS["half each-00"], epochs=6, train=256, held_out=300)
    # Both draw initial weights of their own: with few seeds that alone is more than the tolerance.
    seeds = tuple(range(8))
    trained = examine(world, seeds)
    measured = measure(runs_of(world, seeds), ["a", "b"])
    for name in ("fused", "a alone", "b alone", "unimodal losses", "ensemble"):
        assert trained.value("accuracy", name).value == pytest.approx(
            measured.accuracy[name].value, abs=0.06
        )
    for modality in "ab":
        at_once = measured.evidence
        assert trained.value("lost when permuted", modality).value == pytest.approx(
            at_once.drop[modality].value, abs=0.08
        )
        assert trained.value("probe of joint − of alone", modality).value == pytest.approx(
            at_once.probe[modality].value, abs=0.06
        )


def test_a_confusion_matrix_and_its_summary():
    pairs = [("healthy", "healthy"), ("healthy", "starved"), ("starved", "cannot tell")]
    assert confusion(pairs)["healthy"]["starved"] == 1
    found = summary(pairs)
    assert (found["worlds"], found["right"], found["cannot tell"]) == (3, 1, 1)
    assert found["starved, said of a healthy model"] == [1, 2]


def test_the_committed_judgement_is_that_of_today_s_rules():
    content = json.loads(RESULTS.read_text())
    assert {*content["answers"]} == {*content["evidence"]} == {*WORLDS}
    assert judge_all(content["answers"], content["evidence"]) == content["judged"]


def test_rules_are_tried_on_kept_evidence():
    content = json.loads(RESULTS.read_text())
    name = next(n for n, a in content["answers"].items() if a["verdict"] == STARVED)
    at_ease = replace(Thresholds(), table=9.0)
    assert judged(content["evidence"][name], at_ease)[0] != STARVED
