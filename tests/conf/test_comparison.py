"""The comparison of all methods: equal budgets, what is chosen and on what, what is kept of it."""

from pathlib import Path

import pytest

from inforeg_lightning.report import Run, tables
from running.compose import CONF
from running.errors import RecipeError
from studies import comparison
from studies.comparison import ROWS


def run(val, test, seed=0, modalities=("audio", "image")):
    part = {
        "val": {"accuracy": val},
        "test": {"accuracy": test},
        "probe": dict.fromkeys(modalities, 0.6),
    }
    result = {
        "experiment": "toy",
        "method": "x",
        "title": "X",
        "seed": seed,
        "modalities": [*modalities],
        "epochs": 1,
        "last": part,
        "best": part | {"val": {"accuracy": 1.0}, "test": {"accuracy": 1.0}},
    }
    return Run(Path(f"runs/toy/x/seed={seed}"), result)


def searched(name, *vals, test=0.5):
    """The runs of a row's settings, with these validation accuracies."""
    return {job: run(val, test) for job, val in zip(ROWS[name].settings(), vals, strict=False)}


@pytest.mark.parametrize("name", ROWS)
def test_every_row_has_the_same_number_of_different_settings(name):
    settings = ROWS[name].settings()
    assert len({*settings}) == len(settings) == len(comparison.RATES)
    for job, rate in zip(settings, comparison.RATES, strict=True):
        assert set(rate) <= set(job.overrides), "the same rates for every row"


def test_every_callback_is_a_row_or_said_not_to_be_compared():
    files = {path.stem for path in (CONF / "callbacks").glob("*.yaml")}
    compared = {o.removeprefix("callbacks=") for row in ROWS.values() for o in row.overrides}
    assert files - compared <= set(comparison.NOT_COMPARED)


@pytest.mark.parametrize("name", [name for name, row in ROWS.items() if row.exists])
def test_every_row_composes(name, composed):
    for job in ROWS[name].settings()[1:3]:  # those with values of its own hyperparameter
        cfg = composed(*job.overrides, "seed=0")
        assert cfg.trainer.max_epochs in (4, 8)


def test_the_best_is_chosen_on_validation_and_never_on_test():
    first, second, third, fourth = ROWS["ogm"].settings()
    results = {
        first: run(val=0.5, test=0.9),
        second: run(val=0.6, test=0.1),
        third: run(val=0.6, test=0.9),
        fourth: run(val=0.4, test=1.0),
    }
    assert comparison.chosen("ogm", results) == second, "the first of equals"


def test_a_setting_that_diverged_is_not_chosen():
    results = searched("ogm", 0.5, 0.6)
    del results[ROWS["ogm"].settings()[1]]
    assert comparison.chosen("ogm", results) == ROWS["ogm"].settings()[0]


def test_joint_training_is_searched_as_the_methods_are_and_shown_untuned_too():
    best = ROWS["joint"].settings()[2]
    results = searched("joint", 0.5, 0.5, 0.7, 0.5)
    further = set(comparison.further([0, 1], results))
    recipe = ROWS["joint"].settings()[0]
    assert further == {best, best.with_seed(1), recipe, recipe.with_seed(1)}


def test_what_begins_from_modalities_alone_begins_from_those_chosen():
    results = {
        **{job: run(0.5, 0.5, modalities=["audio"]) for job in ROWS["audio"].settings()},
        **{job: run(0.5, 0.5, modalities=["image"]) for job in ROWS["image"].settings()},
    }
    assert comparison.settings("frozen", {}) == []
    for job in comparison.settings("frozen", results):
        (init,) = (o for o in job.overrides if o.startswith("init.encoders="))
        assert init.count("runs/toy/x/seed=${seed}") == 2
    assert set(comparison.settings("frozen", results)) <= set(comparison.further([0], results))


def test_a_row_that_there_is_not_is_one_error():
    with pytest.raises(RecipeError, match="--methods nothing: the rows are joint, audio"):
        [*comparison.plan(["nothing"], [0])]


def test_the_table_compares_what_was_chosen_with_tuned_joint_training():
    joint, method = ROWS["joint"].settings()[0], ROWS["ogm"].settings()[1]
    results = {
        joint: run(0.5, 0.5),
        joint.with_seed(1): run(0.5, 0.7, seed=1),
        method: run(0.9, 0.6),
        method.with_seed(1): run(0.5, 0.8, seed=1),
        ROWS["ogm"].settings()[0]: run(0.1, 1.0),
    }
    (summary,) = comparison.tabulate([0, 1], results)
    lines = tables(summary)[0].markdown().splitlines()
    assert lines[2].startswith("| Joint training | 60.0 ± 127.1 |")
    assert any(line.startswith("| OGM | 70.0 ± 127.1 (+10.0 ± 0.0) |") for line in lines)
    kept = comparison.keep([0, 1], results)["rows"]
    assert kept["ogm"]["setting"] == [*method.overrides]
    assert [*kept["ogm"]["search"].values()] == [0.1, 0.9]
    assert kept["ogm"]["test"]["accuracy"] == [0.6, 0.8]
    assert kept["joint_recipe"]["test"]["accuracy"] == [0.5, 0.7]
