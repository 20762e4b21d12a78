import json

import pytest

from inforeg_lightning.report import load_runs


def test_run_is_read_whole(write_run, runs):
    folder = write_run("none", 1, 0.7)
    (run,), unreadable = load_runs([runs])
    assert unreadable == []
    assert (run.folder, run.group, run.seed) == (folder, ("none", ""), 1)
    assert run.value("last", "accuracy") == 0.7
    assert run.value("best", "accuracy_image") == 0.4
    assert run.value("last", "probe_audio") == 0.5
    assert run.value("last", "probe_smell") is None
    # an epoch's rows are folded into one
    assert run.curves["val/accuracy"] == {0: 0.7, 1: 0.7, 2: 0.7}
    assert run.curves["train/loss"] == {0: 0.9, 1: 0.9, 2: 0.9}
    assert [entry["period"] for entry in run.history] == [0, 1, 2]


def test_a_run_folder_may_be_given_itself(write_run):
    found, _ = load_runs([write_run("none", 1, 0.7)])
    assert len(found) == 1


def test_a_run_found_twice_counts_once(write_run, runs):
    folder = write_run("none", 0, 0.5)
    found, unreadable = load_runs([runs, folder, runs])
    assert (len(found), unreadable) == (1, [])


def _break(folder, how):
    result = json.loads((folder / "result.json").read_text())
    if how == "unfinished":
        (folder / "result.json").unlink()
    elif how == "is not valid JSON":
        (folder / "result.json").write_text('{"seed": ')
    elif how == "must hold a dict":
        (folder / "result.json").write_text("[]")
    elif how == "lacks seed":
        del result["seed"]
        (folder / "result.json").write_text(json.dumps(result))
    elif how == "no test accuracy for last":
        result["last"] = {}
        (folder / "result.json").write_text(json.dumps(result))
    elif how == "has no metrics.csv":
        (folder / "metrics.csv").unlink()
    elif how == "could not convert":
        (folder / "metrics.csv").write_text("epoch,val/accuracy\n0,none\n")


@pytest.mark.parametrize(
    "how",
    [
        "unfinished",
        "is not valid JSON",
        "must hold a dict",
        "lacks seed",
        "no test accuracy for last",
        "has no metrics.csv",
        "could not convert",
    ],
)
def test_broken_folder_is_listed_with_its_reason(write_run, runs, how):
    write_run("none", 0, 0.5)
    broken = write_run("none", 1, 0.5)
    _break(broken, how)
    found, (problem,) = load_runs([runs])
    assert [run.seed for run in found] == [0]
    assert problem.folder == broken
    assert how in problem.reason


def test_a_repeated_run_is_listed_not_averaged(write_run, runs, tmp_path):
    write_run("none", 0, 0.5)
    runs.rename(tmp_path / "before")
    write_run("none", 0, 0.9)
    found, (problem,) = load_runs([tmp_path])
    assert len(found) == 1
    assert "repeats the run in" in problem.reason


def test_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere"):
        load_runs([tmp_path / "nowhere"])
