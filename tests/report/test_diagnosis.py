"""A diagnosis in a report: its picture, its sentences, and what cannot be shown."""

import json

import pytest

from inforeg_lightning.diagnosis import Diagnosis
from inforeg_lightning.report import load_diagnoses, write_report

ROWS = [
    ("accuracy", "audio alone", 0.6, "share"),
    ("accuracy", "video alone", 0.9, "share"),
    ("accuracy", "fused", 0.7, "share"),
    ("accuracy", "largest class", 0.2, "share"),
    ("left on the table", "ensemble", 0.2, "points"),
    ("probe of the encoder", "video alone", 0.9, "share"),
    ("probe of the encoder", "video joint", 0.7, "share"),
    ("Shapley share", "audio", 0.3, "points"),
    ("Shapley share", "video", 0.2, "points"),
    ("gradients at a fifth of their peak", "video", 4, "epoch"),
]


def content():
    rows = [
        {"measure": m, "of": of, "value": v, "low": v - 0.01, "high": v + 0.01, "unit": unit}
        for m, of, v, unit in ROWS
    ]
    states = {
        "audio": {"state": "healthy", "sentence": "it is used"},
        "video": {"state": "starved", "sentence": "70 % against <90> %"},
    }
    return {
        "verdict": "starved",
        "sentence": "The encoder of video holds less.",
        "advice": "Try unimodal losses.",
        "modalities": states,
        "table": rows,
        "notes": ["audio alone, seed 1: NaN"],
        "cost": {"runs": 4, "seconds": 1.0, "epochs": 8, "joint epochs": 2},
        "reference": {"video": 0.66},
        "evidence": {},
    }


@pytest.fixture
def folder(tmp_path):
    found = tmp_path / "runs" / "toy" / "diagnosis"
    found.mkdir(parents=True)
    (found / "diagnosis.json").write_text(json.dumps(content()))
    return found


def test_the_page_shows_a_diagnosis_alone(folder, tmp_path):
    found, broken = load_diagnoses([tmp_path / "runs"])
    assert broken == []
    text = write_report([], [], tmp_path / "out", diagnoses=found).read_text()
    assert "<h2>toy: starved</h2>" in text
    assert "Try unimodal losses." in text
    assert "70 % against &lt;90&gt; %" in text
    assert "audio alone, seed 1: NaN" in text
    assert "epoch 4" in text
    assert text.count("<svg") == 1
    assert "What the columns mean" not in text
    assert (tmp_path / "out" / "figures" / "toy_diagnosis.png").stat().st_size > 10_000
    assert "## toy: starved" in (tmp_path / "out" / "report.md").read_text()


def test_what_is_left_on_the_table_is_drawn_above_the_fused_accuracy():
    panel = Diagnosis.from_dict(content()).plot().axes[0]
    (hatched,) = (bar for bar in panel.patches if bar.get_hatch())
    assert hatched.get_x() == pytest.approx(70)
    assert hatched.get_width() == pytest.approx(20)
    assert hatched.get_y() == pytest.approx(2 - 0.3)


@pytest.mark.parametrize(
    "broken",
    ["", "[]", '{"verdict": 1}', {"table": [{"measure": "a"}]}, {"modalities": 3}],
)
def test_a_broken_diagnosis_is_listed(folder, tmp_path, broken):
    text = broken if isinstance(broken, str) else json.dumps(content() | broken)
    (folder / "diagnosis.json").write_text(text)
    found, (problem,) = load_diagnoses([tmp_path / "runs"])
    assert found == {}
    assert problem.folder == folder
    assert "is not a diagnosis" in problem.reason


def test_a_number_that_is_none_is_listed(folder, tmp_path):
    rows = content()["table"]
    rows[0]["value"] = "much"
    (folder / "diagnosis.json").write_text(json.dumps(content() | {"table": rows}))
    _, (problem,) = load_diagnoses([tmp_path / "runs"])
    assert "a row of its table cannot be shown" in problem.reason
