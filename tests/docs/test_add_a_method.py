"""Who follows `docs/contributing/add_a_method.md` to the letter has a method that trains."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs" / "contributing" / "add_a_method.md"
BLOCK = re.compile(r"^```(\w+) (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks():
    return {name: text for _, name, text in BLOCK.findall(GUIDE.read_text())}


def test_the_guide_gives_a_method_that_trains(tmp_path):
    shutil.copytree(
        ROOT / "src" / "inforeg_lightning",
        tmp_path / "inforeg_lightning",
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    given = blocks()
    files = [name for name in given if name.endswith(".py")]
    assert [name.split("/")[0] for name in files] == ["core", "methods", "callbacks"]
    for name in files:
        assert f"`src/inforeg_lightning/{name}`" in GUIDE.read_text()
        (tmp_path / "inforeg_lightning" / name).write_text(given[name])
    (tmp_path / "use.py").write_text(given["use"])
    done = subprocess.run(
        [sys.executable, "use.py"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "'audio'" in done.stdout
    assert "SitOutCallback: acted on audio in 2 of 2 epochs" in done.stderr


def test_the_recipe_names_the_callback_of_the_guide():
    recipe = yaml.safe_load(blocks()["conf/callbacks/sit_out.yaml"])
    target = recipe[recipe["name"]]["_target_"]
    assert target == "inforeg_lightning.callbacks.SitOutCallback"
    assert f"class {target.rpartition('.')[2]}(" in blocks()["callbacks/sit_out.py"]
