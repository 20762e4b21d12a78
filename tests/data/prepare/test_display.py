"""What the program shows while it works."""

import importlib
import io

import pytest
from rich.console import Console

from inforeg_lightning.data.prepare import Progress


@pytest.fixture
def shown(module, monkeypatch):
    """What 20 seconds of 100 clips, 40 of which were there, look like."""

    def show(**console):
        clock = iter(range(100))
        display = importlib.import_module("running.clip_display")
        monkeypatch.setattr(display.time, "monotonic", lambda: float(next(clock)))
        file = io.StringIO()
        with module.ClipDisplay("cremad", Console(file=file, width=120, **console)) as bar:
            for done in range(40, 101, 3):
                bar.show(Progress(done, 40, 100))
        return file.getvalue()

    return show


def test_lines_where_there_is_no_terminal(shown):
    assert shown().splitlines() == [
        "cremad: 100 clips, 40 of them there already: going on",
        "cremad: 73/100 clips, 3.0 clips/s, 9 s left",
    ]


def test_a_bar_in_a_terminal(shown):
    text = shown(force_terminal=True, color_system=None)
    assert "100/100 3.0 clips/s" in text
    assert "left" in text
