"""Killed and begun again, it ends with the same bytes."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from inforeg_lightning.data.cremad import CREMADRecipe
from inforeg_lightning.data.prepare import PART, prepare
from inforeg_lightning.data.store import Store, StoreError


def contents(store):
    return {path.name: path.read_bytes() for path in store.iterdir()}


def finished_parts(store):
    parts = store / "parts"
    return [p for p in parts.iterdir() if "." not in p.name] if parts.is_dir() else []


def test_workers_do_not_change_the_bytes(tree, tmp_path):
    prepare(CREMADRecipe(), tree / "raw", tmp_path / "store", workers=3)
    assert contents(tmp_path / "store") == contents(tree / "store")


@pytest.mark.parametrize(
    "how",
    [
        signal.SIGKILL,
        *(pytest.param(how, marks=pytest.mark.slow) for how in (signal.SIGTERM, signal.SIGINT)),
    ],
)
def test_killed_and_begun_again(tree, tmp_path, program, how):
    store = tmp_path / "store"
    arguments = ("data=cremad", f"data.root={tree / 'raw'}", f"data.store={store}", "workers=1")
    with program(*arguments, cwd=tmp_path) as process:
        deadline = time.monotonic() + 120
        while not finished_parts(store) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        process.send_signal(how)
        out, err = process.communicate(timeout=60)
    assert process.returncode == {signal.SIGKILL: -9, signal.SIGTERM: 143, signal.SIGINT: 130}[how]
    if how == signal.SIGTERM:
        assert out.splitlines()[-1] == "ended by SIGTERM: the same command goes on from here"
        assert err == ""
    assert "Traceback" not in err
    survivors = {part.name: part.stat().st_ino for part in finished_parts(store)}
    assert 1 <= len(survivors) < 3
    with pytest.raises(StoreError, match="unfinished"):
        Store(store)
    with pytest.raises(StoreError, match="begun, with other settings"):
        prepare(CREMADRecipe(frame_format="jpeg"), tree / "raw", store)
    no_process_is_left(tmp_path)

    seen = []
    result = prepare(CREMADRecipe(), tree / "raw", store, workers=2, watch=seen.append)
    assert result.seconds > 0
    assert seen[0].resumed >= PART  # it went on
    assert seen[-1].done == seen[-1].total
    assert contents(store) == contents(tree / "store")


def test_a_worker_that_is_killed_is_replaced(tree, tmp_path):
    killed = []

    def kill_one(progress):
        if progress.done >= 10 and not killed:
            me = str(os.getpid())
            found = [p for p in processes() if parent_of(parent_of(p)) == me]
            killed.extend(found[:1])
            for process in killed:
                os.kill(int(process), signal.SIGKILL)

    prepare(CREMADRecipe(), tree / "raw", tmp_path / "store", workers=2, watch=kill_one)
    assert killed
    assert contents(tmp_path / "store") == contents(tree / "store")


def test_two_at_once_are_refused(tree, tmp_path):
    def another(progress):
        with pytest.raises(StoreError, match="another process is preparing"):
            prepare(CREMADRecipe(), tree / "raw", tmp_path / "store")

    prepare(CREMADRecipe(), tree / "raw", tmp_path / "store", workers=1, watch=another)


def no_process_is_left(cwd):
    deadline = time.monotonic() + 20
    while (left := started_in(cwd)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left == []


def started_in(cwd):
    found = []
    for process in processes():
        with suppress(OSError):
            environment = Path(f"/proc/{process}/environ").read_bytes().split(b"\0")
            if f"PREPARE_TEST={cwd}".encode() in environment:
                found.append(process)
    return found


def processes():
    return [path.name for path in Path("/proc").glob("[0-9]*")]


def parent_of(process):
    with suppress(OSError, ValueError):
        return Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()[1]
    return None
