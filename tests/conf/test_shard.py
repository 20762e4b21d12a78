"""The program that writes shards: what it does, what it refuses, and how it ends."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console

from inforeg_lightning.data.store import StoreWriter

PROGRAM = Path(__file__).resolve().parents[2] / "experiments/shard.py"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    path = tmp_path_factory.mktemp("store")
    rng = np.random.default_rng(0)
    with StoreWriter(path, {"data": "cremad"}) as writer:
        for clip in range(12):
            frames = rng.integers(0, 256, (3, 16, 16, 3), np.uint8)
            writer.add(f"{clip}", clip % 6, frames, rng.standard_normal((9, 9)), split="train")
    return path


def test_it_writes_checks_and_finds_damage(store, start, tmp_path):
    out = tmp_path / "out"
    done = start("shard.py", f"store={store}", f"out={out}", "shard_mb=0.01", cwd=tmp_path)
    assert f"{out}: 12 clips in " in done.stdout
    assert done.stderr == ""
    checked = start("shard.py", "check=true", f"out={out}", cwd=tmp_path)
    assert "all as written" in checked.stdout
    file = out / "shard-000001.tar"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    failed = start("shard.py", "check=true", f"out={out}", cwd=tmp_path, status=1)
    assert "1 shards are damaged; the first: " in failed.stderr
    assert "shard-000001.tar has other bytes than were written" in failed.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


MISTAKES = {
    "nothing": ([], "out must be given, as out=FOLDER"),
    "no store": (["out=new"], "store must be given, as store=FOLDER"),
    "an empty store": (["store=", "out=new"], "store must be a folder, got ''"),
    "an empty out": (["store=STORE", "out="], "out must be a folder, got ''"),
    "null": (["store=null", "out=new"], "store must be a folder, got None"),
    "a list": (["store=[a,b]", "out=new"], "store must be a folder, got "),
    "a place that is no store": (["store=nowhere", "out=new"], "there is no prepared store in"),
    "a URL to write to": (["store=STORE", "out=s3://a:pw@b/c"], "got 's3://***@b/c'"),
    "a size of 0": (["store=STORE", "out=new", "shard_mb=0"], "shard_mb must be above 0"),
    "a size of infinity": (["store=STORE", "out=new", "shard_mb=inf"], "above 0 and finite"),
    "a word as a size": (["store=STORE", "out=new", "shard_mb=big"], "must be a number, got 'big'"),
    "a truth as a size": (
        ["store=STORE", "out=new", "shard_mb=true"],
        "must be a number, got True",
    ),
    "a word as a truth": (["store=STORE", "out=new", "check=no"], "check must be true or false"),
    "an option more": (["store=STORE", "out=new", "+force=true"], "force is no option"),
    "a file as out": (["store=STORE", "out=STORE/index.csv"], "store/index.csv"),
    "a folder below a file": (["store=STORE", "out=STORE/index.csv/new"], "Not a directory"),
    "the store itself": (["store=STORE", "out=STORE"], "holds other things"),
    "a check of nothing": (["check=true", "out=new"], "no finished shards at"),
    "a check of no URL": (["check=true", "out=gopher://a:pw@b"], "gopher://***@b is not read"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_leaves_nothing(store, tmp_path, monkeypatch, mistake):
    from running.errors import RecipeError
    from shard import run

    arguments, message = MISTAKES[mistake]
    monkeypatch.chdir(tmp_path)
    before = sorted(path.name for path in store.iterdir())
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(PROGRAM.parents[1] / "conf"), version_base="1.3"):
        cfg = compose("shard", [argument.replace("STORE", str(store)) for argument in arguments])
    shown = Console(file=io.StringIO())
    with pytest.raises(RecipeError) as caught:
        run(cfg, shown)
    assert message in str(caught.value).replace(str(store), "store")
    assert "\n" not in str(caught.value)
    assert shown.file.getvalue() == ""
    assert list(tmp_path.iterdir()) == []
    assert sorted(path.name for path in store.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stroe=STORE", "out=new"], "stroe"),
        (["store=STORE", "out="], "out must be a folder, got ''"),
        (["-m", "store=a,b", "out=new"], "it takes no -m"),
    ],
)
def test_the_program_tells_it_without_a_traceback(store, start, tmp_path, arguments, message):
    given = [argument.replace("STORE", str(store)) for argument in arguments]
    failed = start("shard.py", *given, cwd=tmp_path, status=1)
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert failed.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("number", "word"), [("SIGTERM", "terminated"), ("SIGINT", "interrupted")])
def test_a_signal_ends_it_with_one_line_and_nothing_left(tmp_path, number, word):
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "store", {"data": "cremad"}) as writer:
        frames = rng.integers(0, 256, (8, 64, 64, 3), np.uint8)
        for clip in range(1500):
            writer.add(f"{clip}", 0, frames, np.zeros((9, 9)))
    out = tmp_path / "out"
    command = [sys.executable, str(PROGRAM), f"store={tmp_path / 'store'}"]
    process = subprocess.Popen(
        [*command, f"out={out}", "shard_mb=1"],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell ignores SIGINT for what it puts in the background, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    deadline = time.monotonic() + 120
    while not (out / "shard-000003.tar").exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    process.send_signal(getattr(signal, number))
    said, errors = process.communicate(timeout=60)
    assert process.returncode == {"SIGTERM": 143, "SIGINT": 130}[number], said + errors
    assert said.splitlines()[-1] == f"{word}: the same command begins anew"
    assert errors == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store"]
