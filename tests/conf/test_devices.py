"""One run on two processes, started by the program itself."""

import csv
import json
from types import SimpleNamespace

import pytest
from hydra.types import RunMode

TWO = ("trainer.devices=2", "trainer.accelerator=cpu", "trainer.strategy=ddp")


@pytest.fixture(scope="module")
def two(start, tmp_path_factory):
    cwd = tmp_path_factory.mktemp("two")
    process = start("train.py", "experiment=synthetic", *TWO, cwd=cwd)
    (folder,) = (path.parent for path in cwd.rglob("result.json"))
    return cwd, folder, process


def test_one_process_writes_the_folder_and_evaluates_the_whole_test_set(two):
    _, folder, process = two
    assert process.stdout.count("epoch 1/2") == process.stdout.count("epoch 2/2") == 1
    result = json.loads((folder / "result.json").read_text())
    assert set(result["last"]["probe"]) == {"audio", "image"}
    assert (result["last"]["test"]["accuracy"] * 32) % 1 == 0  # of 32 samples, none padded
    assert result["config"]["data"]["batch_size"] == 16
    assert len(json.loads((folder / "history.json").read_text())) == 2
    assert (folder / "features.npz").exists()


def test_the_batch_of_the_recipe_is_shared_so_that_an_epoch_has_as_many_steps(two):
    _, folder, _ = two
    with (folder / "metrics.csv").open(newline="") as file:
        steps = [int(row["step"]) for row in csv.DictReader(file)]
    assert max(steps) + 1 == 2 * 64 // 16


@pytest.mark.parametrize(
    ("batch", "mode", "message"),
    [
        (15, None, "15 cannot be shared by 2"),
        (16, RunMode.MULTIRUN, r"a sweep \(-m\) trains in one process.* experiments/study\.py"),
    ],
)
def test_what_processes_cannot_share_is_one_error(monkeypatch, batch, mode, message):
    from running import building
    from running.errors import RecipeError

    monkeypatch.setattr(building.HydraConfig, "initialized", lambda: mode is not None)
    monkeypatch.setattr(building.HydraConfig, "get", lambda: SimpleNamespace(mode=mode))
    data, trainer = SimpleNamespace(batch_size=batch), SimpleNamespace(num_devices=2, num_nodes=1)
    with pytest.raises(RecipeError, match=message):
        building.share_batch(data, trainer)
