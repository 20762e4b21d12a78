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
