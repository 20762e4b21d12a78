"""Generated worlds trained jointly and with balancing methods, by a plain loop with a Regulator."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from inforeg_lightning.engine.method import Method
from inforeg_lightning.methods import AutoBalance, UnimodalLosses
from running.map.remedies import train
from running.truth.families import FRESH, all_worlds
from running.truth.worlds import Source, World

JOINT = "none"
METHODS: Mapping[str, type[Method]] = {
    "auto_balance": AutoBalance,
    "unimodal_losses": UnimodalLosses,
}
TOGETHER = "together beside a third"
LEAST_VALIDATION = 64


def judged_worlds() -> list[World]:
    """Two worlds of each family, and six whose first two modalities only speak together."""
    fresh = [world for world in all_worlds() if world.number in (FRESH, FRESH + 1)]
    pair = {"a": Source(8, 5.5, shows="key"), "b": Source(8, 5.5, shows="cipher")}
    hints = [(classes, strength) for classes in (2, 3) for strength in (1.5, 2.0, 2.5)]
    return fresh + [
        World(
            TOGETHER,
            FRESH + number,
            {**pair, "c": Source(16, strength)},
            classes=classes,
            train=1500,
            lr=0.05,
            deep=True,
        )
        for number, (classes, strength) in enumerate(hints)
    ]


def accuracies(world: World, seed: int) -> dict[str, float]:
    """Row -> test accuracy after the last epoch; all rows begin from the same weights."""
    torch.set_num_threads(1)
    data = world.draw(seed)
    # A user with few samples has few to validate with: a quarter of those that are trained on.
    few = max(LEAST_VALIDATION, world.train // 4)
    data["validation"] = {key: values[:few] for key, values in data["validation"].items()}
    methods = {JOINT: None} | {name: make() for name, make in METHODS.items()}
    return {
        name: round(train(world, data, seed, method).accuracy(data["test"]["label"]), 5)
        for name, method in methods.items()
    }


def complete(content: Mapping[str, Any], seeds: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    """Measure what is missing of the worlds, and yield all that there is after each.

    Args:
        content: World -> row -> seed -> test accuracy, of those that are measured.
        seeds: Of samples, weights and order.
    """
    found = dict(content)
    for world in judged_worlds():
        if world.name not in found:
            by_seed = {seed: accuracies(world, seed) for seed in seeds}
            rows = (JOINT, *METHODS)
            found[world.name] = {row: {str(s): by_seed[s][row] for s in seeds} for row in rows}
            yield dict(found)
