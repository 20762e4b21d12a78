"""The README's code runs, and its numbers are those of the files that were measured."""

import json
import re
from pathlib import Path

from helpers.programs import run_program

ROOT = Path(__file__).parents[2]


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


def test_the_code_runs(tmp_path):
    codes = blocks((ROOT / "README.md").read_text(), "python")
    assert codes
    for code in codes:
        (tmp_path / "code.py").write_text(code)
        done = run_program(tmp_path / "code.py", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "'audio': " in done.stdout


def test_the_diff_uses_the_public_face():
    (diff,) = blocks((ROOT / "README.md").read_text(), "diff")
    added = "\n".join(line[2:] for line in diff.splitlines() if line.startswith("+"))
    exec(compile(added.replace("L.Trainer", "dict"), "README.md", "exec"), {})


def test_the_numbers_of_the_study_are_those_of_its_file():
    study = json.loads((ROOT / "experiments/results/av_digits_study.json").read_text())
    text = (ROOT / "docs/evidence.md").read_text()
    readme = (ROOT / "README.md").read_text()
    assert study["command"].split()[-10:] == [str(seed) for seed in range(10)]
    for method in study["experiments"]["av_digits"]["methods"]:
        for cell in method["last"].values():
            assert shown(cell) in text
            if cell["difference"]:
                assert f"({shown(cell['difference'], '+')})" in text
        assert (
            method["method"] == "none"
            or shown(method["last"]["accuracy"]["difference"], "+") in readme
        )


def shown(cell, sign=""):
    value, half = 100 * cell["mean"], 100 * (cell["high"] - cell["mean"])
    return f"{value:{sign}.1f} ± {half:.1f}".replace("-", "−")
