"""Programs that are told to end, killed, or started twice."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
LONG = ("experiment=synthetic", "trainer.max_epochs=5000")
TRAIN = ("train.py", *LONG, "callbacks=none")
DEMO = ("study.py", "demo", *LONG, "--workers", "1")
TWO = ("trainer.devices=2", "trainer.accelerator=cpu", "trainer.strategy=ddp")


@pytest.fixture
def under_way(tmp_path):
    """Start a program and wait until it trains; what it started ends with the test."""
    started = []

    def begin(*command):
        process = subprocess.Popen(
            [sys.executable, str(EXPERIMENTS / command[0]), *command[1:]],
            cwd=tmp_path,
            env=os.environ | {"OMP_NUM_THREADS": "1", "INFOREG_TEST": str(tmp_path)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        assert any("epoch 10/" in line for line in process.stdout), process.stderr.read()
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()
    for pid in processes_with(f"INFOREG_TEST={tmp_path}"):
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


@pytest.fixture
def _heeding_interrupts():
    # A shell ignores SIGINT for what it puts in the background, nohup ignores SIGHUP, and children
    # inherit that.
    before = [
        (number, signal.signal(number, handler))
        for number, handler in (
            (signal.SIGINT, signal.default_int_handler),
            (signal.SIGHUP, signal.SIG_DFL),
        )
    ]
    yield
    for number, handler in before:
        signal.signal(number, handler)


def end(process, how):
    # Ctrl-C reaches the whole group of a terminal, the others one process.
    send = os.killpg if how == "SIGINT" else os.kill
    send(process.pid, getattr(signal, how))
    return process.communicate(timeout=120)


def processes_with(variable):
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if variable.encode() in environment.read_bytes().split(b"\0"):
                found.append(environment.parent.name)
    return found


def all_ended(tmp_path):
    deadline = time.monotonic() + 30
    while processes_with(f"INFOREG_TEST={tmp_path}") and time.monotonic() < deadline:
        time.sleep(0.1)
    return processes_with(f"INFOREG_TEST={tmp_path}") == []


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("SIGTERM", 143, "ended by SIGTERM: the run is unfinished, and the same command trains it"),
        pytest.param(
            "SIGINT",
            130,
            "ended by SIGINT: the run is unfinished, and the same command trains it",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            "SIGHUP",
            129,
            "ended by SIGHUP: the run is unfinished, and the same command trains it",
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.usefixtures("_heeding_interrupts")
def test_a_training_that_is_ended_says_so_and_is_unfinished(under_way, tmp_path, how, code, said):
    from inforeg_lightning.report import load_runs

    process = under_way(*TRAIN)
    _, err = end(process, how)
    assert process.returncode == code
    assert err.count(said) == 1
    assert "Traceback" not in err
    found, (problem,) = load_runs([tmp_path])
    assert (found, problem.reason) == ([], "unfinished: it has no result.json")
    assert all_ended(tmp_path)


@pytest.mark.parametrize(
    ("how", "code", "said"),
    [
        ("SIGTERM", 143, "ended by SIGTERM: finished runs are kept"),
        pytest.param("SIGINT", 130, "ended by SIGINT: finished runs", marks=pytest.mark.slow),
        pytest.param("SIGKILL", -9, "", marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("_heeding_interrupts")
def test_workers_end_with_their_study(under_way, tmp_path, how, code, said):
    process = under_way(*DEMO)
    assert len(processes_with(f"INFOREG_TEST={tmp_path}")) > 1
    out, err = end(process, how)
    assert process.returncode == code
    assert said in out + err
    assert "Traceback" not in err
    assert all_ended(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_a_run_on_two_processes_ends_with_its_study(under_way, tmp_path, how):
    process = under_way(*DEMO, *TWO)
    assert len(processes_with(f"INFOREG_TEST={tmp_path}")) >= 4
    end(process, how)
    assert all_ended(tmp_path)


@pytest.mark.slow
def test_a_training_on_two_processes_is_ended_by_one_signal(under_way, tmp_path):
    process = under_way(*TRAIN, *TWO)
    _, err = end(process, "SIGTERM")
    assert process.returncode == 143
    assert err.count("ended by SIGTERM") == 1
    assert all_ended(tmp_path)


TRAINED = "another process trains this run; wait for its end"


@pytest.mark.parametrize(
    ("first", "seconds"),
    [
        (TRAIN, {TRAIN: TRAINED}),
        pytest.param(
            DEMO,
            {
                TRAIN: TRAINED,
                DEMO: TRAINED,
                # Of its own runs none has been begun yet.
                (*DEMO, "--methods", "inforeg"): "carries out this study with seed 0; wait for its",
            },
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_second_training_in_one_folder_is_refused(under_way, start, tmp_path, first, seconds):
    """And the first goes on."""
    process = under_way(*first)
    before = {path for path in tmp_path.rglob("*") if path.name != "log.txt"}
    for second, said in seconds.items():
        refused = start(*second, cwd=tmp_path, status=1)
        assert said in refused.stderr
        assert "Traceback" not in refused.stderr
    assert {path for path in tmp_path.rglob("*") if path.name != "log.txt"} == before
    assert process.poll() is None
    assert any("epoch" in line for line in process.stdout)


def test_a_killed_training_is_trained_anew_by_the_same_command(under_way, start, tmp_path):
    end(under_way(*TRAIN), "SIGKILL")
    assert list(tmp_path.rglob(".seed=0.lock"))
    short = [argument.replace("5000", "1") for argument in TRAIN[1:]]
    folder = next(tmp_path.rglob("seed=0"))
    folder.parent.rename(folder.parent.with_name("trainer.max_epochs=1"))
    start("train.py", *short, cwd=tmp_path)
    assert list(tmp_path.rglob("result.json"))
