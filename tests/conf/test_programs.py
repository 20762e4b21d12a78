import csv
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

STUDY = Path(__file__).resolve().parents[2] / "experiments" / "study.py"

FILES = {
    "config.yaml",
    "metrics.csv",
    "history.json",
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
    assert process.stderr == ""
    assert "arning" not in process.stdout
    assert "deprecat" not in process.stdout


def test_report_of_a_sweep(sweep, start):
    runs, _ = sweep
    process = start("report.py", runs, "--out", runs / "out", cwd=runs)
    assert "| Joint training |" in process.stdout
    assert (runs / "out" / "report.html").exists()
    summary = json.loads((runs / "out" / "result.json").read_text())
    assert len(summary["experiments"]["synthetic"]["methods"]) == 3


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


def test_demo_has_the_numbers_of_the_sweep(sweep, start, tmp_path):
    runs, _ = sweep
    arguments = (*QUICK, "--methods", "none", "inforeg", "--seeds", "0", "--workers", "2")
    process = start("study.py", "demo", *arguments, cwd=tmp_path)
    assert "[2/2]" in process.stdout
    assert (tmp_path / "runs" / "studies" / "synthetic" / "demo" / "report.html").exists()
    for file in (tmp_path / "runs" / "synthetic").rglob("result.json"):
        ours = json.loads(file.read_text())
        theirs = json.loads((runs / file.relative_to(tmp_path / "runs/synthetic")).read_text())
        for key in ("best", "last", "config", "method", "variant"):
            assert ours[key] == theirs[key]


@pytest.fixture
def _heeding_interrupts():
    # A shell ignores SIGINT for what it puts in the background, and children inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    "how", ["SIGINT", "SIGKILL", pytest.param("SIGTERM", marks=pytest.mark.slow)]
)
@pytest.mark.usefixtures("_heeding_interrupts")
def test_workers_end_with_the_demo(tmp_path, how):
    command = [
        sys.executable,
        str(STUDY),
        "demo",
        "experiment=synthetic",
        "trainer.max_epochs=5000",
    ]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "INFOREG_TEST": str(tmp_path)}
    with subprocess.Popen(
        [*command, "--workers", "1"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert any("epoch 10/" in line for line in process.stdout)
        assert len(_processes_with(f"INFOREG_TEST={tmp_path}")) > 1
        # Ctrl-C reaches the whole group of a terminal, the others one process.
        send = os.killpg if how == "SIGINT" else os.kill
        send(process.pid, getattr(signal, how))
        process.stdout.read()
    assert process.returncode == {"SIGINT": 130, "SIGTERM": 143, "SIGKILL": -9}[how]
    deadline = time.monotonic() + 20
    while _processes_with(f"INFOREG_TEST={tmp_path}") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _processes_with(f"INFOREG_TEST={tmp_path}") == []


def _processes_with(variable):
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if variable.encode() in environment.read_bytes().split(b"\0"):
                found.append(environment.parent.name)
    return found
