"""The page "Is it for you?": its cases and its numbers are those of committed results."""

import json
from pathlib import Path

import pytest

from inforeg_lightning.diagnosis import HARMS, HEALTHY, STARVED, Thresholds

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "experiments" / "results"
TEXT = " ".join((ROOT / "docs/is_it_for_you.md").read_text(encoding="utf-8").split())
CASES = json.loads((RESULTS / "worked_cases.json").read_text(encoding="utf-8"))
JUDGED = json.loads((RESULTS / "truth.json").read_text(encoding="utf-8"))["judged"]


@pytest.mark.parametrize("name", CASES)
def test_a_case_is_told_as_it_was_found(name):
    found = CASES[name]
    assert f"**{found['verdict']}**" in TEXT
    assert found["sentence"] in TEXT
    for state in found["modalities"].values():
        assert state["sentence"] in TEXT


def test_the_cases_end_differently_and_one_in_do_not_use_this():
    assert {case["verdict"] for case in CASES.values()} == {HEALTHY, STARVED, HARMS}
    assert "do not use this" in TEXT


@pytest.mark.parametrize("half", ["tuned on", "never tuned on"])
def test_how_often_it_was_right(half):
    found = JUDGED[half]["models"]
    share = 100 * found["right"] / found["worlds"]
    assert f"{found['right']} of {found['worlds']} right ({share:.1f} %)" in TEXT
    said, of = found["starved, said of a healthy model"]
    assert f"{said} of {of} healthy models" in TEXT


def test_the_confusion_matrix():
    for truth, row in JUDGED["never tuned on"]["models"]["confusion"].items():
        assert f"| {truth} | {' | '.join(map(str, row.values()))} |" in TEXT


def test_the_thresholds():
    at = Thresholds()
    for value, of in (
        (at.near_chance, "above the largest class"),
        (at.drop, "lost when permuted"),
        (at.less, "between the probes"),
        (at.harm, "below one modality alone"),
    ):
        points = f"{100 * value:.0f} point{'s' * (value != 0.01)}"
        assert f"{points} {of}" in TEXT
    assert f"on the table | {100 * at.table:.0f} points" in TEXT
    assert f"below {at.width:g} times it" in TEXT
