"""The comparison of all methods: what is chosen, on what, and what the table says of it."""

import json

import pytest

import compare
from comparison import Run, metrics, table, write

JOINT = "joint loss only"


def result(val, test, audio=0.5, image=0.3, title="OGM (α 0.1)"):
    return {
        "title": title,
        "modalities": ["audio", "image"],
        "machine": {"cores": 2},
        "last": {
            "val": {"accuracy": val},
            "test": {"accuracy": test, "accuracy_audio": audio, "accuracy_image": image},
            "probe": {"audio": 0.6, "image": 0.9},
        },
        "best": {"val": {"accuracy": 1.0}, "test": {"accuracy": 1.0}},
    }


def ogm(*values, seed=0):
    return Run("ogm", JOINT, values, seed)


def test_the_best_is_chosen_on_validation_and_never_on_test():
    runs = {
        ogm(): result(val=0.5, test=0.9),
        ogm("a=1"): result(val=0.6, test=0.1),
        ogm("a=2"): result(val=0.4, test=1.0),
    }
    assert compare._best(runs, [0]) == {("ogm", JOINT): ogm("a=1")}


def test_the_default_wins_a_tie_and_the_mean_is_over_the_seeds_that_search():
    runs = {
        ogm(): result(0.5, 0.0),
        ogm(seed=1): result(0.5, 0.0),
        ogm(seed=2): result(0.0, 0.0),  # does not search
        ogm("a=1"): result(0.9, 0.0),
        ogm("a=1", seed=1): result(0.1, 0.0),
    }
    assert compare._best(runs, [0, 1]) == {("ogm", JOINT): ogm()}


def test_one_that_failed_is_not_chosen():
    runs = {ogm(): result(0.5, 0.0), ogm("a=1"): {}}
    assert compare._best(runs, [0]) == {("ogm", JOINT): ogm()}


def test_every_method_has_two_values_besides_its_default():
    assert all(len(values) == 2 for method, values in compare.GRID.items() if method != "none")


def test_imbalance_is_between_the_heads():
    assert metrics(result(0.5, 0.7, audio=0.2, image=0.6))["imbalance"] == pytest.approx(0.4)


def test_the_table_has_differences_paired_by_seed(tmp_path):
    joint = [Run("none", JOINT, (), seed) for seed in (0, 1)]
    runs = {
        joint[0]: result(0.5, 0.50, title="Joint training"),
        joint[1]: result(0.5, 0.70, title="Joint training"),
        ogm(): result(0.5, 0.55),
        ogm(seed=1): result(0.5, 0.75),
        ogm("a=1"): result(0.6, 0.40, title="OGM (α 0.3)"),
    }
    best = {("ogm", JOINT): ogm("a=1")}
    lines = table(runs, best, [JOINT]).splitlines()
    assert lines[4].startswith("| Joint training | 60.0 ± 127.1 |  |")
    assert lines[5].startswith("| OGM (α 0.1) | 65.0 ± 127.1 | +5.0 ± 0.0 |")
    assert lines[6].startswith("| OGM (α 0.3), best of grid | 40.0 | −10.0 |")

    written = json.loads(write(tmp_path / "all.json", runs, best, "command").read_text())
    assert len(written["runs"]) == 5
    assert written["chosen"] == [{"method": "ogm", "losses": JOINT, "values": ["a=1"]}]


def test_the_program_ends_in_both_tables(start, tmp_path):
    """Also if data are loaded in processes that the worker of a run has to start."""
    process = start(
        "compare.py",
        *("--methods", "none", "--seeds", "0", "--search-seeds", "1", "--runs", "runs"),
        *("experiment=synthetic", "trainer.max_epochs=1", "+data.num_workers=1"),
        cwd=tmp_path,
    )
    assert "**Joint loss only**" in process.stdout
    assert "**With unimodal losses**" in process.stdout
    assert "failed" not in process.stdout
    written = json.loads((tmp_path / "runs" / "comparison.json").read_text())
    assert {run["losses"] for run in written["runs"]} == {*compare.LOSSES}
