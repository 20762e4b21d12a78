"""The guide to a data set of one's own is followed to the letter, in a temporary folder."""

import os
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("av")
pytest.importorskip("torchvision")
pytest.importorskip("hydra")

from helpers.programs import run_program
from helpers.raw_media import write_kinetics_sounds
from inforeg_lightning.data.store import Store

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs/contributing/add_a_data_set.md").read_text()
PEOPLE = ("anna", "ben", "carla", "dan", "eva", "finn")


def written(folder):
    """Write the files that the guide shows, each under the name in its first line."""
    paths = []
    for block in re.findall(r"^```(?:python|yaml)\n# (.*?)^```", GUIDE, re.DOTALL | re.MULTILINE):
        name, content = block.split("\n", 1)
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        paths.append(name)
    return paths


@pytest.fixture
def run(tmp_path):
    """Run a command of the guide, changed as it says for files outside the repository."""
    commands = dict(re.findall(r"^\$ python experiments/(\w+)\.py (.*)$", GUIDE, re.MULTILINE))

    def run(program, conf, *more):
        words = commands[program].replace("RAW", "raw").replace("STORE", "store").split()
        done = run_program(
            ROOT / f"experiments/{program}.py",
            *("--config-dir", conf, *words, *more),
            cwd=tmp_path,
            environment={"PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


def test_the_steps_of_the_guide(tmp_path, run):
    assert written(tmp_path) == [
        "greetings.py",
        "conf/prepare/data/greetings.yaml",
        "conf/data/greetings.yaml",
        "conf/experiment/greetings.yaml",
    ]
    clips = write_kinetics_sounds(tmp_path / "made", (0, 1), len(PEOPLE), seconds=2, size=(48, 64))
    (tmp_path / "raw" / "some folder").mkdir(parents=True)
    for number, clip in enumerate(clips):
        word, person = ("hello", "goodbye")[clip.label], PEOPLE[number % len(PEOPLE)]
        name = f"some folder/{word}_{person}_{number:02d}.mp4"
        shutil.copy(tmp_path / "made" / f"{clip.name}.mp4", tmp_path / "raw" / name)
    shutil.copy(tmp_path / "raw" / name, tmp_path / "raw" / "holiday.mp4")

    assert "1 rejected" in run("prepare", "conf/prepare", "workers=1")
    store = Store(tmp_path / "store")
    assert store.damaged() == []
    assert len(store) == len(clips)
    assert set(store.groups.tolist()) == set(PEOPLE)
    assert store.labels.tolist() == [n.startswith("goodbye") for n in store.names.tolist()]
    assert store.rejected == [("holiday", "its name is not class_person_number")]

    few = [f"+trainer.limit_{part}_batches=1" for part in ("train", "val", "test")]
    out = run(
        "train",
        "conf",
        *few,
        "trainer.max_epochs=1",
        "++trainer.accelerator=cpu",
        "data.batch_size=2",
        "+data.num_workers=0",
        "+data.test_share=0.3",
        "+data.val_share=0.3",
        "threads=1",
    )
    assert "epoch 1/1" in out
