"""The history of processes that ``fit`` starts itself comes back to the process that called."""

import gc
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from ddp.spawning import FOLDER, train
from inforeg_lightning.callbacks._mailbox import Mailbox

HERE = Path(__file__).parent


@pytest.mark.parametrize(
    "strategy", [pytest.param("ddp_spawn", marks=pytest.mark.slow), "ddp_fork", "ddp_notebook"]
)
def test_the_history_is_that_of_one_process_on_the_same_batches(strategy, tmp_path):
    """In a program of its own, as a fork of a process with threads may hang."""
    folder = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
    for _ in range(3):
        found = subprocess.run(
            [sys.executable, "-m", "ddp.spawning", strategy, tmp_path],
            env=os.environ
            | {"PYTHONPATH": folder, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        # Threads of gloo may abort a process that has done its work and ends; not ours to mend.
        if "terminate called without an active exception" not in found.stderr:
            break
    assert found.returncode == 0, found.stderr[-4000:]
    two = pickle.loads((tmp_path / FOLDER).read_bytes())
    one = train("auto", 1)
    assert len(two["read"]) == len(one) == 2
    for ours, theirs in zip(two["read"], one, strict=True):
        for quantity in ("score", "trace", "alpha", "penalty"):
            assert ours[quantity] == pytest.approx(theirs[quantity], rel=1e-9), quantity
        assert ours["in_window"] == theirs["in_window"]
    assert two["state"] == two["read"], "a checkpoint holds it too"
    assert two["left"] == [], "nothing is left behind, read or not"
    assert not [*tmp_path.glob("inforeg-*")]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def in_another_process(mailbox, history):
    """What a copy does whose process is not that of the original."""
    copied = pickle.loads(pickle.dumps(mailbox))
    copied._born_in = -1
    copied.send(history)


def test_what_is_sent_is_read_once_and_only_by_the_original(folder):
    mailbox = Mailbox()
    mailbox.send([{"epoch": 0}])
    assert [*folder.iterdir()] == [], "a process writes nothing for itself"
    in_another_process(mailbox, [{"epoch": 1, "score": {"audio": None}}])
    assert len([*folder.iterdir()]) == 1
    assert mailbox.collect() == [{"epoch": 1, "score": {"audio": None}}]
    assert mailbox.collect() is None
    assert [*folder.iterdir()] == []


def test_what_is_never_read_goes_with_the_original(folder):
    mailbox = Mailbox()
    in_another_process(mailbox, [])
    assert len([*folder.iterdir()]) == 1
    del mailbox
    gc.collect()
    assert [*folder.iterdir()] == []
