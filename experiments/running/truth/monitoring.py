"""Watch one training of each world, and hold what is suspected against what is true."""

import logging
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import lightning.pytorch as L
import torch

from inforeg_lightning.diagnosis import ModalityMonitor, SuspicionThresholds
from inforeg_lightning.diagnosis.suspicions import suspect
from running.truth.families import FRESH, all_worlds
from running.truth.judging import Batches, WorldModule, summary
from running.truth.real import RealWorld
from running.truth.worlds import Batch, World

BATCHES = 6
"""Per measured epoch; trainings of 120 steps are too short for 2 %."""
ROUNDS = 5
"""Measured epochs."""


class Validated(WorldModule):
    """The module of a world, which calls its head in validation."""

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Predict."""
        self.network(batch)


def watch(world: World | RealWorld) -> list[dict[str, Any]]:
    """The history of a monitor of one training, from as many samples as the world's user has."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    torch.manual_seed(0)
    data = world.draw(0)
    monitor = ModalityMonitor(
        {name: f"network.encoders.{name}" for name in world.sources},
        "network.head",
        target="label",
        every=max(world.epochs // ROUNDS, 1),
        batches=BATCHES,
    )
    trainer = L.Trainer(
        max_epochs=world.epochs,
        callbacks=[monitor],
        accelerator="cpu",
        num_sanity_val_steps=0,
        **dict.fromkeys(
            ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"),
            False,
        ),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of loaders without workers
        trainer.fit(
            Validated(world), Batches(data["train"], True), Batches(data["validation"], False)
        )
    return [_rounded(entry) for entry in monitor.history]


def complete(content: Mapping[str, Any], answers: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Watch the worlds that a file of results lacks, of both halves by turns, and judge.

    Args:
        content: What the file holds.
        answers: What is true of each world.

    Yields:
        What it should hold, after each world.
    """
    seen = dict(content.get("seen", {}))
    for world in _by_turns(answers):
        if world.name not in seen:
            seen[world.name] = watch(world)
            yield {"judged": judge(seen, answers), "seen": seen}
    yield {"judged": judge(seen, answers), "seen": seen}


def judge(seen: Mapping[str, Any], answers: Mapping[str, Any]) -> dict[str, Any]:
    """What is right and wrong of the suspicions of each half, of models and of modalities."""
    found: dict[str, Any] = {}
    for half, is_fresh in {"tuned on": False, "never tuned on": True}.items():
        models, modalities = [], []
        for name, history in seen.items():
            if (int(name.rpartition("-")[2]) >= FRESH) != is_fresh:
                continue
            truth = answers[name]
            said = suspect(history, [*truth["states"]], SuspicionThresholds())
            models.append((truth["verdict"], said.verdict))
            modalities += [(t, said.modalities[m].state) for m, t in truth["states"].items() if t]
        found[half] = {"models": summary(models), "modalities": summary(modalities)}
    return found


def _by_turns(answers: Mapping[str, Any]) -> list[World]:
    """The worlds whose answer is known, in an order that mixes families and halves."""
    known = [w for w in all_worlds() if answers.get(w.name, {}).get("verdict")]
    return sorted(known, key=lambda w: (w.number % FRESH, w.family, w.number))


def _rounded(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What the rules read of an entry."""

    def short(x: Any) -> Any:
        if isinstance(x, dict):
            return {name: short(value) for name, value in x.items()}
        return round(x, 4) if isinstance(x, float) else x

    read = ("epoch", "skipped", "share", "agreement", "probe", "drop", "fused", "largest_class")
    return {name: short(entry[name]) for name in read}
