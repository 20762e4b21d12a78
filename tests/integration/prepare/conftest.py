import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


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
