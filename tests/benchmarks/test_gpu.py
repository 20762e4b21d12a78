"""The script for a day with a GPU runs on the CPU, all its parts, so that the day is not lost."""

import json
import re
from pathlib import Path

import pytest

from helpers.programs import run_program

GPU = Path(__file__).resolve().parents[2] / "benchmarks" / "gpu.py"
PARTS = ("methods", "precision", "compile", "waits", "training")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    quick = ("--device", "cpu", "--quick", "--backend", "aot_eager")
    process = run_program(GPU, *quick, cwd=tmp_path_factory.mktemp("gpu"))
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_every_part_was_measured(found):
    assert [part for part in PARTS if "failed" in found[part]] == []
    assert len(found["methods"]["ratio_to_joint"]) >= 18
    assert {"joint", "InfoReg", "AutoBalance"} == {*found["methods"]["peak_bytes"]}
    assert found["settings"]["device"] == "cpu"


@pytest.mark.parametrize("part", ["precision", "compile"])
def test_each_precision_has_its_own_joint_step(found, part):
    for precision in ("fp32", "bf16", "fp16"):
        loops = found[part][precision]
        assert loops["joint"]["ratio_to_joint"]["median"] == 1
        assert all(loop["seconds"]["median"] > 0 for loop in loops.values())


def test_methods_read_no_value_in_a_step_and_a_scaler_one(found):
    waits = {name: of for name, of in found["waits"].items() if name != "wall_seconds"}
    assert len(waits) == 6
    for name, of in waits.items():
        assert of["reads"] == (1 if name.endswith("fp16") else 0), name


def test_trainings_are_told_with_their_accuracy(found):
    for name, of in found["training"].items():
        assert name == "wall_seconds" or 0 <= of["accuracy"] <= 1


def test_a_part_that_fails_is_told_and_the_others_go_on(tmp_path):
    quick = ("--device", "cpu", "--quick", "--parts", "compile", "waits", "--backend", "nothing")
    process = run_program(GPU, *quick, cwd=tmp_path)
    assert process.returncode == 1
    found = json.loads(process.stdout)
    assert re.search(r"nothing", found["compile"]["failed"])
    assert "failed" not in found["waits"]


def test_without_a_gpu_the_error_says_what_to_do(tmp_path, monkeypatch):
    process = run_program(GPU, cwd=tmp_path, environment={"CUDA_VISIBLE_DEVICES": ""})
    assert process.returncode == 2
    assert "there is no GPU here that torch can use; --device cpu --quick" in process.stderr
