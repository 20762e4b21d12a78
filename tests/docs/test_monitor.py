"""What the page on the monitor shows runs, and names what there is."""

import re
from pathlib import Path

import pytest

from inforeg_lightning.diagnosis.monitor import ModalityMonitor

PAGE = (Path(__file__).parents[2] / "docs/monitor.md").read_text(encoding="utf-8")


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
def test_the_program_of_the_page_prints_a_suspicion(capsys):
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(compile(program, "docs/monitor.md", "exec"), {"__name__": "page"})
    assert "Suspected:" in capsys.readouterr().out


def test_page_and_class_explain_the_same_numbers():
    for number in ("share", "agreement", "probe", "drop", "trace"):
        assert f"| `{number}`" in PAGE
        assert f"``{number}``" in ModalityMonitor.__doc__
