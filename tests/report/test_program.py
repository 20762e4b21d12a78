"""``report.py``: where its report cannot be written, that is one sentence and nothing is left."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).resolve().parents[2] / "experiments" / "report.py"


def report(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(PROGRAM), *map(str, arguments)],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("out", ["/dev/null/x", "file/x", "file", "new/\udce9" + 300 * "x"])
def test_a_place_that_cannot_be_written_is_one_sentence(write_run, runs, tmp_path, out):
    write_run("none", 0, 0.5)
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    done = report(runs, "--out", out, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("--out: the report cannot be written there")
    assert sorted(tmp_path.rglob("*")) == before


def test_links_without_end_are_one_sentence(write_run, runs, tmp_path):
    write_run("none", 0, 0.5)
    (tmp_path / "out").symlink_to(tmp_path / "out")
    done = report(runs, "--out", "out/x", cwd=tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
