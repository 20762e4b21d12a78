import importlib
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console

from helpers.raw_media import EMOTIONS, write_cremad
from inforeg_lightning.data.cremad import CREMADRecipe
from inforeg_lightning.data.prepare import PART, prepare

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def tree(tmp_path_factory):
    """Three parts of clips, and the store of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("tree")
    actors = range(1001, 1001 + -(-2 * PART // len(EMOTIONS)) + 1)
    write_cremad(
        folder / "raw",
        actors,
        sentences=("DFA",),
        faults={"1002_DFA_ANG_XX": "broken_audio", "1009_DFA_SAD_XX": "truncated"},
        size=(48, 64),
    )
    prepare(CREMADRecipe(), folder / "raw", folder / "store", workers=1)
    return folder


@pytest.fixture(scope="session")
def program():
    """Start ``experiments/prepare.py``; the process, with its output piped."""

    def start(*arguments, cwd):
        return subprocess.Popen(
            [sys.executable, str(ROOT / "experiments" / "prepare.py"), *map(str, arguments)],
            cwd=cwd,
            env=os.environ | {"OMP_NUM_THREADS": "1", "PREPARE_TEST": str(cwd)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return start


@pytest.fixture(scope="session")
def finished(program):
    """The finished process: output, error output."""

    def run(*arguments, cwd, status=0):
        with program(*arguments, cwd=cwd) as process:
            out, err = process.communicate(timeout=300)
        assert process.returncode == status, out + err
        return out, err

    return run


@pytest.fixture
def module(monkeypatch):
    """The program as a module, found as the program finds its own modules."""
    monkeypatch.syspath_prepend(ROOT / "experiments")
    yield importlib.import_module("prepare")
    del sys.modules["prepare"]


@pytest.fixture
def run_here(module):
    """Run the program in this process; returns its output."""

    def run(*overrides):
        GlobalHydra.instance().clear()
        with initialize_config_dir(str(ROOT / "conf" / "prepare"), version_base="1.3"):
            cfg = compose("prepare", list(map(str, overrides)))
        file = io.StringIO()
        module.run(cfg, Console(file=file))
        return file.getvalue()

    return run
