"""Processes killed by SIGKILL at random steps, and resumed from their last checkpoint."""

import random
from pathlib import Path

import pytest

from helpers.comparison import assert_opens_and_closes
from helpers.modules import assert_same_weights, snapshot
from helpers.programs import run_program
from helpers.resuming import BATCHES, train

pytestmark = [
    # torchdata 0.11 calls what torch deprecates.
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),
    # Lightning's: the folder is the killed run's.
    pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty"),
]

HERE = Path(__file__).parent
EPOCHS = 5
HOOKS = (
    "on_train_batch_start",
    "on_before_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
    "on_train_epoch_end",
)


def points(number: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [
        f"{index}:{draw.randrange(2, BATCHES * EPOCHS - BATCHES)}"
        f":{draw.choice(HOOKS)}:{draw.choice(['epoch', 4])}"
        for index in range(number)
    ]


def kill_and_resume(folder: Path, children: list[str]) -> None:
    done = run_program(HERE / "killed.py", folder, *children, cwd=folder)
    assert done.returncode == 0, done.stderr[-4000:]
    whole = {}
    for period in ("epoch", "4"):
        settings = {"period": "epoch" if period == "epoch" else int(period)}
        whole[period] = train(folder / f"whole {period}", **settings)
    assert_opens_and_closes(whole["epoch"]["history"])
    for child in children:
        name, *_, period = child.split(":")
        settings = {"period": "epoch" if period == "epoch" else int(period)}
        resumed = train(folder / name, resume=True, **settings)
        assert resumed["history"] == whole[period]["history"], child
        assert_same_weights(snapshot(resumed["module"]), snapshot(whole[period]["module"]))


def test_three_killed_runs_resume_exactly(tmp_path):
    kill_and_resume(tmp_path, points(3, seed=0))


@pytest.mark.slow
def test_many_killed_runs_resume_exactly(tmp_path):
    kill_and_resume(tmp_path, points(24, seed=random.SystemRandom().randrange(10**6)))
