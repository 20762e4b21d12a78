"""Every example runs, warns of nothing of ours and prints what its method did."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
PROGRAMS = sorted(path for path in EXAMPLES.glob("*.py") if path.name != "toy.py")


def test_there_is_one_per_loop():
    assert [path.stem for path in PROGRAMS] == [
        "bare_loop",
        "with_accelerate",
        "with_fabric",
        "with_hugging_face",
        "with_lightning",
    ]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: path.stem)
def test_it_runs(program, tmp_path):
    done = subprocess.run(
        [sys.executable, program],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for message in re.findall(r"Warning: (.*)", done.stderr):
        assert "InfoReg" not in message, message
    epochs = re.findall(r"epoch (\d+): strength audio ([\d.]+), video ([\d.]+)", done.stdout)
    assert [int(epoch) for epoch, _, _ in epochs] == list(range(8))
    strengths = [float(audio) for _, audio, _ in epochs]
    assert max(strengths) > 1, "audio, the stronger one, is never regulated"
    assert not list(tmp_path.iterdir())
