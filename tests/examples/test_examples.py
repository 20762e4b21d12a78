"""Every example runs, warns of nothing of ours and prints what its method did."""

import re
import runpy
import sys
import warnings
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
def test_it_runs(program, tmp_path, monkeypatch, capsys):
    # In this process: to import torch and a framework takes longer than an example.
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [program.name])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        runpy.run_path(str(program), run_name="__main__")
    assert not [w for w in caught if "InfoReg" in str(w.message)]
    said = capsys.readouterr().out
    epochs = re.findall(r"epoch (\d+): strength audio ([\d.]+), video ([\d.]+)", said)
    assert [int(epoch) for epoch, _, _ in epochs] == list(range(8))
    strengths = [float(audio) for _, audio, _ in epochs]
    assert max(strengths) > 1, "audio, the stronger one, is never regulated"
    assert not list(tmp_path.iterdir())
