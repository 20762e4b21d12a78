"""The study of pretrained encoders: where its arms begin, and what is made of them."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from running.study import Job


@dataclass
class Ended:
    """What a study reads of a run."""

    folder: Path
    seed: int = 3


@pytest.fixture
def pretrained():
    from studies import pretrained

    return pretrained


@pytest.fixture
def ended(pretrained):
    """The modalities alone, of one seed."""
    place = "runs/av_digits/{}_alone/+data.part=first,trainer.max_epochs=8/seed=3"
    return {
        pretrained.alone(m).with_seed(3): Ended(Path(place.format(m))) for m in ("audio", "image")
    }


def test_the_encoders_come_first_and_the_arms_when_they_are_there(pretrained, ended):
    assert [*pretrained.plan((), [3])] == [*ended]
    assert pretrained.further([3], {}) == []
    assert pretrained.further([3, 4], dict(list(ended.items())[:1])) == []
    jobs = pretrained.further([3, 4], ended)
    assert {job.seed for job in jobs} == {3}  # seed 4 has no encoders
    assert len(jobs) == len({*jobs}) == 3 * 5 + 1


def test_no_arm_trains_on_what_its_encoders_were_trained_on(pretrained, ended, composed):
    configs = [composed(*job.overrides, f"seed={job.seed}") for job in ended]
    assert {cfg.data.part for cfg in configs} == {"first"}
    for job in pretrained.further([3], ended):
        cfg = composed(*job.overrides, f"seed={job.seed}")
        assert (cfg.data.part, cfg.trainer.max_epochs, cfg.model.step_size) == ("second", 8, 6)


def test_every_arm_begins_from_the_encoders_of_its_own_seed(pretrained, ended, composed):
    from running.baselines import checkpoints, with_baseline

    seen = set()
    for job in pretrained.further([3], ended):
        cfg = with_baseline(composed(*job.overrides, "seed=5"), "")
        files = checkpoints(cfg)
        if "init.encoders" in " ".join(job.overrides):
            folders = {m: ended[pretrained.alone(m).with_seed(3)].folder for m in files}
            assert files == {
                m: Path(str(f).replace("seed=3", "seed=5")) / "checkpoints" / "last.ckpt"
                for m, f in folders.items()
            }
        else:
            assert files == {}
        seen.add((cfg.callbacks.name, cfg.model.unimodal_losses, cfg.init.frozen, cfg.init.last))
    assert len(seen) == 3 * 5 + 1  # each arm is another run
    assert [name for name, _, frozen, _ in seen if frozen] == ["frozen"]


def test_rows_hold_the_seeds_that_there_are(pretrained, ended):
    class Run(Ended):
        history = ({"trace": {"audio": 1.0, "image": 2.0},
                    "in_window": {"audio": False, "image": True}},)  # fmt: skip

        def value(self, checkpoint, quantity):
            return 0.5 if quantity == "accuracy" else None

    results = dict.fromkeys(pretrained.further([3], ended), Run(Path("x"))) | {
        job: Run(run.folder) for job, run in ended.items()
    }
    kept = pretrained.keep([3, 4], results)
    assert [*kept["rows"]] == [*pretrained.REGIMES]
    assert kept["rows"]["frozen"] == {
        "joint": {"seeds": [3], "accuracy": [0.5], "probe_audio": [None], "probe_image": [None]}
    }
    assert kept["windows"]["fine-tuned"]["trace"] == {"audio": [[1.0]], "image": [[2.0]]}
    assert isinstance(next(iter(results)), Job)
