"""``diagnose.py``: from a recipe to a diagnosis and its page."""

import json
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from running.checks import check
from running.diagnosing import run
from running.errors import RecipeError

CONF = Path(__file__).resolve().parents[2] / "conf"
QUICK = ("experiment=synthetic", "trainer.max_epochs=1", "seeds=1", "data.sizes=[32,16,16]")
COMMAND = ["python", "experiments/diagnose.py", *QUICK]


def recipe(*overrides):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("diagnose", [*QUICK, *overrides])


def test_a_recipe_is_diagnosed_and_its_page_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    cfg = recipe()
    check(cfg)
    found = run(cfg, COMMAND)
    said = capsys.readouterr().out
    assert said.startswith(f"Diagnosis: {found.verdict.upper()}")
    folder = tmp_path / "runs" / "synthetic" / "diagnosis"
    assert json.loads((folder / "diagnosis.json").read_text())["verdict"] == found.verdict
    assert f"<h2>synthetic: {found.verdict}</h2>" in (folder / "report/report.html").read_text()
    assert found.notes == []


def test_what_people_get_is_a_line_of_reference(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    columns = "FileName,VoiceVote,FaceVote,MultiModalVote\n"
    (tmp_path / "summaryTable.csv").write_text(columns + "1001_DFA_ANG_XX,A,N,A\n")
    found = run(recipe("raters=summaryTable.csv"), COMMAND)
    assert found.reference == {"audio": 1.0, "video": 0.0, "fused": 1.0}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("raters=gone.csv", "raters: .*gone.csv"),
        ("trainer.devices=2", "trainer.devices must be 1"),
        ("fraction=0", "`fraction` must be above 0"),
        ("checkpoint=gone.ckpt", "`checkpoint`"),
    ],
)
def test_what_cannot_be_diagnosed_is_one_sentence(tmp_path, monkeypatch, override, said):
    monkeypatch.chdir(tmp_path)
    if override.startswith("checkpoint"):  # the other runs are measured all the same
        (note,) = run(recipe(override), COMMAND).notes
        assert said in note
        return
    with pytest.raises(RecipeError, match=said):
        run(recipe(override), COMMAND)
