"""Runs that are compared by another metric than accuracy: what is read, ranked and shown."""

import math

import pytest

from inforeg_lightning.report import FolderError, load_runs, markdown, summarise
from inforeg_lightning.report.figures import choose
from inforeg_lightning.report.folder import read_result, write_result
from inforeg_lightning.report.measures import measure


def errors(mae):
    """The part of a checkpoint, of a regression."""
    found = {"mae": mae, "mae_audio": 2 * mae, "mae_image": 3 * mae, "correlation": 0.5}
    return {"epoch": 0, "val": {"mae": mae}, "test": found, "probe": {"audio": 1.5, "image": 2.5}}


def write_error(write_run, method, seed, mae, **changed):
    part = errors(mae)
    part["test"] |= changed.get("test", {})
    more = {"metric": "mae", "metrics": ["correlation"], "last": part, "best": part}
    return write_run(method, seed, 0.5, **more)


def test_an_error_may_be_above_one_and_is_shown_as_it_is(write_run, runs):
    write_error(write_run, "none", 0, 1.25)
    write_error(write_run, "better", 0, 0.75)
    found, rejected = load_runs([runs])
    assert not rejected
    (summary,) = summarise(found)
    text = markdown(summary)
    assert "Test MAE (lower is better), last epoch:" in text
    assert "| method | fused | fused, correlation | audio, head | image, head |" in text
    assert "| Joint training | 1.250 | 0.500 | 2.500 | 3.750 | 1.500 | 2.500 | 1.250 | 1 |" in text
    assert "| better | 0.750 (-0.500) |" in text
    assert "a negative difference is a gain" in text


def test_of_an_error_the_least_on_validation_is_drawn(write_run, runs):
    write_error(write_run, "none", 0, 1.0)
    for place, mae in enumerate((0.9, 0.5, 0.8, 0.7, 0.6)):
        write_error(write_run, f"m{place}", 0, mae)
    (summary,) = summarise(load_runs([runs])[0])
    drawn = [group.title for group in choose(summary).groups]
    assert drawn == ["Joint training", "m1", "m3", "m4"]


def test_runs_of_two_metrics_are_two_tables(write_run, runs):
    write_run("none", 0, 0.5)
    write_error(write_run, "other", 0, 1.0)
    found = summarise(load_runs([runs])[0])
    assert [summary.experiment for summary in found] == ["toy, MAE", "toy, accuracy"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mae": 10**40}, "last.test.mae must be a number"),
        ({"mae": None}, "last.test.mae must be a number"),
        ({"mae_audio": "much"}, "last.test.mae_audio must be a number"),
        ({"correlation": "much"}, "last.test.correlation must be a number"),
        ({"auroc": 1.5}, "last.test.auroc must be a number from 0 to 1"),
    ],
)
def test_a_value_that_cannot_be_is_refused(write_run, runs, change, message):
    write_error(write_run, "none", 0, 1.0, test=change)
    found, (rejected,) = load_runs([runs])
    assert not found
    assert message in rejected.reason


@pytest.mark.parametrize(
    ("change", "message"),
    [({"metric": "../x"}, "metric must be a name"), ({"metrics": "mae"}, "metrics must be names")],
)
def test_names_of_metrics_are_names(write_run, runs, change, message):
    write_run("none", 0, 0.5, **change)
    _, (rejected,) = load_runs([runs])
    assert message in rejected.reason


def test_a_correlation_that_is_none_does_not_cost_the_run_its_result(write_run, runs):
    folder = write_error(write_run, "none", 0, 1.0)
    result = read_result(folder)
    result["last"]["test"]["correlation"] = math.nan
    write_result(folder, result)
    (run,), _ = load_runs([runs])
    assert run.value("last", "correlation") is None
    assert run.value("best", "correlation") == 0.5
    result["last"]["test"]["mae"] = math.nan
    with pytest.raises(FolderError, match="mae must be a number"):
        write_result(folder, result)


def test_an_unknown_metric_is_a_plain_number():
    assert measure("furlongs").said == "furlongs"
    assert measure("furlongs").text(12.3456) == "12.346"
    assert measure("accuracy").said == "accuracy in %"
