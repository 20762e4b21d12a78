"""The programs, run as a user runs them: what they print, write and leave."""

import csv
import json
from pathlib import Path

import pytest

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results"

FILES = {
    "config.yaml",
    "metrics.csv",
    "history.json",
    "predictions.npz",
    "result.json",
    "checkpoints/best.ckpt",
    "checkpoints/last.ckpt",
}
QUICK = ("experiment=synthetic", "trainer.max_epochs=1")


def _validation_curve(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return [float(row["val/accuracy"]) for row in csv.DictReader(file) if row["val/accuracy"]]


@pytest.fixture(scope="module")
def sweep(start, tmp_path_factory):
    """A sweep of two methods and two values of a parameter that one of them does not have."""
    cwd = tmp_path_factory.mktemp("sweep")
    process = start(
        "train.py",
        "-m",
        *QUICK,
        "callbacks=none,inforeg",
        "callbacks.inforeg.beta=0.5,0.9",
        cwd=cwd,
    )
    return cwd / "runs" / "synthetic", process


def test_a_sweep_trains_each_different_run_once(sweep):
    runs, process = sweep
    folders = {path.parent.relative_to(runs).as_posix() for path in runs.rglob("result.json")}
    assert folders == {
        "none/trainer.max_epochs=1/seed=0",
        "inforeg,beta=0.5,K=0.04/trainer.max_epochs=1/seed=0",
        "inforeg,beta=0.9,K=0.04/trainer.max_epochs=1/seed=0",
    }
    assert process.stdout.count("epoch 1/1") == 3
    assert process.stdout.count("this run is there already") == 1


def test_run_folders_hold_what_they_should(sweep):
    runs, _ = sweep
    for result_file in runs.rglob("result.json"):
        folder = result_file.parent
        assert {name for name in FILES if not (folder / name).exists()} == set()
        result = json.loads(result_file.read_text())
        assert (result["epochs"], result["seed"]) == (1, 0)
        assert result["seconds"]["total"] >= result["seconds"]["fit"] > 0
        assert "experiment=synthetic" in result["overrides"]
        assert {"torch", "lightning", "inforeg-lightning"} <= set(result["versions"])
        for checkpoint in ("best", "last"):
            part = result[checkpoint]
            assert {"accuracy", "accuracy_audio", "accuracy_image"} <= set(part["test"])
            assert {"accuracy", "loss"} <= set(part["val"])
            assert set(part["probe"]) == {"audio", "image"}
            assert all(0 <= value <= 1 for value in part["probe"].values())
        history = json.loads((folder / "history.json").read_text())
        assert [entry["epoch"] for entry in history] == [0]
        assert len(_validation_curve(folder)) == 1


def test_one_batch_of_the_embedded_data(start, tmp_path):
    one_batch = [f"+trainer.limit_{split}_batches=1" for split in ("train", "val", "test")]
    start(
        "train.py",
        "experiment=av_digits",
        "callbacks=none",
        f"+data.root={tmp_path / 'cache'}",
        "trainer.max_epochs=1",
        *one_batch,
        cwd=tmp_path,
    )
    (file,) = (tmp_path / "runs" / "av_digits" / "none").rglob("result.json")
    assert json.loads(file.read_text())["last"]["epoch"] == 0


def test_output_has_no_warnings(sweep):
    _, process = sweep
    # A run of one epoch is told that the paper's window cannot open in it.
    said = [line for line in process.stderr.splitlines() if "no period of this" not in line]
    assert said == []
    assert "arning" not in process.stdout
    assert "deprecat" not in process.stdout


def test_report_of_a_sweep(sweep, start):
    runs, _ = sweep
    process = start("report.py", runs, "--out", runs / "out", cwd=runs)
    assert "| Joint training |" in process.stdout
    assert (runs / "out" / "report.html").exists()
    summary = json.loads((runs / "out" / "result.json").read_text())
    assert len(summary["experiments"]["synthetic"]["methods"]) == 3


def test_a_sweep_is_evaluated_with_modalities_missing(sweep, start):
    runs, _ = sweep
    said = start("report.py", runs, "--subsets", cwd=runs).stdout.splitlines()
    assert said[0] == "synthetic: test accuracy in % by the modalities that are there"
    assert said[1].split() == ["method", "seeds", "audio", "+", "image", "audio", "image", "none"]
    shown = {line.split(",")[0]: line for line in said[2:]}
    (file,) = (runs / "none").rglob("result.json")
    whole = json.loads(file.read_text())["last"]["test"]["accuracy"]
    assert f"  1      {100 * whole:.1f} (" in shown["none"]
    assert len(said) == 5


def test_what_is_kept_of_missing_modalities_is_what_the_runs_measured(sweep):
    from inforeg_lightning.report import load_runs
    from running.missing import kept_subsets

    runs, _ = sweep
    loaded, _ = load_runs([runs / "none"])
    kept = kept_subsets(loaded)
    assert (kept["experiment"], kept["modalities"]) == ("synthetic", ["audio", "image"])
    row = kept["rows"]["none"]
    assert (row["title"], row["seeds"]) == ("Joint training", [0])
    assert [*row["accuracy"]] == ["audio + image", "audio", "image", "none"]
    whole = loaded[0].value("last", "accuracy")
    assert row["accuracy"]["audio + image"] == [pytest.approx(whole, abs=1e-5)]


def test_report_without_runs_says_so(start, tmp_path):
    assert "no finished run" in start("report.py", tmp_path, cwd=tmp_path, status=1).stderr


def test_the_last_checkpoint_is_of_the_last_epoch_and_the_best_of_the_best(start, tmp_path):
    start("train.py", "experiment=synthetic", "callbacks=none", "model.lr=0.3", cwd=tmp_path)
    (folder,) = (path.parent for path in tmp_path.rglob("result.json"))
    result = json.loads((folder / "result.json").read_text())
    curve = _validation_curve(folder)
    assert result["last"]["epoch"] == len(curve) - 1
    assert result["best"]["epoch"] == curve.index(max(curve))
    assert result["best"]["val"]["accuracy"] == pytest.approx(max(curve))
    assert result["last"]["val"]["accuracy"] == pytest.approx(curve[-1])


def test_a_configuration_that_cannot_run_is_one_sentence(start, tmp_path):
    process = start("train.py", "experiment=cremad", cwd=tmp_path, status=1)
    assert "no prepared store at data/cremad" in process.stderr
    assert "Traceback" not in process.stderr


@pytest.mark.slow
def test_a_study_has_the_numbers_of_the_sweep(sweep, start, tmp_path):
    runs, _ = sweep
    process = start("study.py", "table2", *QUICK, "--seeds", "0", "--workers", "2", cwd=tmp_path)
    assert "[2/2]" in process.stdout
    assert (tmp_path / "runs" / "studies" / "synthetic" / "table2" / "report.html").exists()
    for file in (tmp_path / "runs" / "synthetic").rglob("result.json"):
        ours = json.loads(file.read_text())
        theirs = json.loads((runs / file.relative_to(tmp_path / "runs/synthetic")).read_text())
        for key in ("best", "last", "config", "method", "variant"):
            assert ours[key] == theirs[key]


def test_a_sweep_that_cannot_begin_leaves_nothing(start, tmp_path):
    process = start("train.py", "-m", *QUICK, "seed=-1,-2", cwd=tmp_path, status=1)
    assert "seed must be an integer of at least 0, got -1" in process.stderr
    assert "Traceback" not in process.stderr
    assert list(tmp_path.iterdir()) == []


def test_report_prints_the_tables_of_the_committed_results(start, tmp_path):
    files = sorted({*RESULTS.glob("*.json")} - {RESULTS / "av_digits_methods.json"})
    results = [file for file in files if "experiments" in json.loads(file.read_text())]
    process = start("report.py", *results, cwd=tmp_path)
    shown = {"study": "| 81.0 ± 2.2 (+3.8 ± 0.9) |", "calibration": "| 91.6 ± 1.2 ("}
    assert all(row in process.stdout for row in shown.values())
    assert list(tmp_path.iterdir()) == []


def test_report_of_a_file_without_tables_is_one_sentence(start, tmp_path):
    (tmp_path / "x.json").write_text('{"experiments": {"a": [1]}}')
    process = start("report.py", tmp_path / "x.json", cwd=tmp_path, status=1)
    assert "does not hold the tables of a report" in process.stderr
    assert process.stderr.count("\n") == 1
