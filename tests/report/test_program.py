"""``report.py``: where its report cannot be written, that is one sentence and nothing is left."""

import runpy
import sys
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.fixture
def report(monkeypatch, capsys, tmp_path):
    """Run the program in this process: to import all it needs takes longer than the rest."""
    monkeypatch.syspath_prepend(str(EXPERIMENTS))
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["report.py", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(str(EXPERIMENTS / "report.py"), run_name="__main__")
        return ended.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("out", ["/dev/null/x", "file/x", "file", "new/\udce9" + 300 * "x"])
def test_a_place_that_cannot_be_written_is_one_sentence(write_run, runs, report, tmp_path, out):
    write_run("none", 0, 0.5)
    (tmp_path / "file").write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    code, said = report(runs, "--out", out)
    assert code == 1
    assert len(said.splitlines()) == 1
    assert said.startswith("--out: the report cannot be written there")
    assert sorted(tmp_path.rglob("*")) == before


def test_links_without_end_are_one_sentence(write_run, runs, report, tmp_path):
    write_run("none", 0, 0.5)
    (tmp_path / "out").symlink_to(tmp_path / "out")
    code, said = report(runs, "--out", "out/x")
    assert (code, len(said.splitlines())) == (1, 1)
