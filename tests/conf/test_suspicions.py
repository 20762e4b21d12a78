"""What is written of a monitor's suspicions follows from what is kept of them."""

import json
from pathlib import Path

from running.truth.monitoring import judge

ROOT = Path(__file__).resolve().parents[2]


def read(name):
    return json.loads((ROOT / f"experiments/results/{name}.json").read_text(encoding="utf-8"))


def test_the_judgement_is_that_of_the_rules_as_they_are():
    kept = read("suspicions")
    assert judge(kept["seen"], read("truth")["answers"]) == kept["judged"]


def test_the_page_says_what_was_measured():
    found = read("suspicions")["judged"]["never tuned on"]
    models, modalities = found["models"], found["modalities"]
    wrong, healthy = models["starved, said of a healthy model"]
    row = models["confusion"]["starved"]
    page = " ".join((ROOT / "docs/monitor.md").read_text(encoding="utf-8").split())
    assert f"{models['right']} of {models['worlds']} models" in page
    assert f"{modalities['right']} of {modalities['worlds']} modalities" in page
    assert (wrong, f"said of none of {healthy} healthy" in page) == (0, True)
    assert f"{row['starved']} of {sum(row.values())} starved models" in page
