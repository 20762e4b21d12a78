"""The comparison of all methods: what is chosen, on what, and what the table says of it."""

from pathlib import Path

import pytest

from inforeg_lightning.report import Run, tables
from running.study import Job
from studies import comparison

JOINT = "joint loss only"


def run(val, test, title="OGM (α 0.1)", method="ogm", seed=0):
    part = {
        "val": {"accuracy": val},
        "test": {"accuracy": test, "accuracy_audio": 0.2, "accuracy_image": 0.6},
        "probe": {"audio": 0.6, "image": 0.9},
    }
    result = {
        "experiment": "toy",
        "method": method,
        "title": title,
        "seed": seed,
        "modalities": ["audio", "image"],
        "epochs": 1,
        "last": part,
        "best": part | {"val": {"accuracy": 1.0}, "test": {"accuracy": 1.0}},
    }
    return Run(Path(method), result)


def ogm(*values, seed=0):
    return Job(("callbacks=ogm", *values), seed)


FIRST, SECOND = comparison.GRID["ogm"]


def test_the_best_is_chosen_on_validation_and_never_on_test():
    results = {
        ogm(): run(val=0.5, test=0.9),
        ogm(FIRST): run(val=0.6, test=0.1),
        ogm(SECOND): run(val=0.4, test=1.0),
    }
    assert comparison.chosen([0], results) == {("ogm", JOINT): ogm(FIRST)}


def test_the_default_wins_a_tie_and_the_mean_is_over_the_seeds_that_search():
    results = {
        ogm(): run(0.5, 0.0),
        ogm(seed=1): run(0.5, 0.0),
        ogm(seed=2): run(0.0, 0.0),  # does not search
        ogm(FIRST): run(0.9, 0.0),
        ogm(FIRST, seed=1): run(0.1, 0.0),
    }
    assert comparison.chosen([0, 1, 2], results) == {("ogm", JOINT): ogm()}


def test_one_that_failed_for_a_seed_is_not_chosen():
    results = {ogm(): run(0.5, 0.0), ogm(seed=1): run(0.5, 0.0), ogm(FIRST): run(0.9, 0.0)}
    assert comparison.chosen([0, 1], results) == {("ogm", JOINT): ogm()}


def test_the_best_of_a_grid_is_trained_over_all_seeds():
    results = {ogm(): run(0.5, 0.0), ogm(FIRST): run(0.6, 0.0)}
    assert set(comparison.further([0], results)) == {ogm(FIRST)}
    further = set(comparison.further([0, 1, 2], results))
    assert further == set(), "nothing is chosen before all seeds that search are there"


def test_every_method_has_two_values_besides_its_default():
    assert all(len(values) == 2 for method, values in comparison.GRID.items() if method != "none")


def test_methods_that_bring_unimodal_losses_are_compared_with_them_only():
    jobs = [*comparison.plan(["none", "mmpareto"], [0])]
    assert len(jobs) == len(set(jobs)) == 2 + 1 + 2
    of = [job for job in jobs if "callbacks=mmpareto" in job.overrides]
    assert not any("model.unimodal_losses=true" in job.overrides for job in of), "they bring them"


def test_the_table_has_differences_paired_by_seed():
    none = Job(("callbacks=none",), 0)
    joint = {"title": "Joint training", "method": "none"}
    results = {
        none: run(0.5, 0.50, **joint),
        none.with_seed(1): run(0.5, 0.70, **joint, seed=1),
        ogm(): run(0.5, 0.55),
        ogm(seed=1): run(0.5, 0.75, seed=1),
        ogm(FIRST): run(0.6, 0.40, title="OGM (α 0.3)", method="ogm,alpha=0.3"),
        ogm(FIRST, seed=1): run(0.6, 0.60, "OGM (α 0.3)", "ogm,alpha=0.3", seed=1),
        ogm(SECOND): run(0.1, 0.99, title="OGM (α 0.8)", method="ogm,alpha=0.8"),
    }
    (summary,) = comparison.tabulate([0, 1], results)
    assert summary.experiment == "toy, joint loss only"
    lines = tables(summary)[0].markdown().splitlines()
    assert lines[2].startswith("| Joint training | 60.0 ± 127.1 |")
    assert lines[3].startswith("| OGM (α 0.1) | 65.0 ± 127.1 (+5.0 ± 0.0) |")
    assert lines[4].startswith("| OGM (α 0.3), best of grid | 50.0 ± 127.1 (-10.0 ± 0.0) |")
    assert len(lines) == 5


@pytest.mark.slow
def test_the_program_ends_in_both_tables(start, tmp_path):
    """Also if data are loaded in processes that the worker of a run has to start."""
    process = start(
        "study.py",
        *("comparison", "--methods", "none", "ogm", "--seeds", "0", "--workers", "2"),
        *("experiment=synthetic", "trainer.max_epochs=1", "+data.num_workers=1"),
        cwd=tmp_path,
    )
    assert "## synthetic, joint loss only" in process.stdout
    assert "## synthetic, with unimodal losses" in process.stdout
    assert "failed" not in process.stdout
