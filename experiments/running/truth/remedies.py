"""Train generated worlds with remedies that need no tuning, in a plain loop with a `Regulator`."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from inforeg_lightning import Regulator
from inforeg_lightning.engine.method import Method
from inforeg_lightning.methods import DGL, AutoBalance, UnimodalLosses
from running.truth.networks import BATCH, Network
from running.truth.worlds import FRESH, Batch, Source, World, all_worlds

PER_FAMILY = 2
"""Worlds of each family, the first that no rule was tuned on."""
SEEDS = (0, 1, 2)
BESIDE_A_THIRD = "together beside a third"
"""Family of the worlds in which two modalities only speak together, and a third speaks alone."""
TEST = 4000
"""Test samples, where a world can draw so many: differences of a third of a point are asked for."""

ROWS: Mapping[str, Callable[[], Method] | None] = {
    "none": None,
    "auto_balance": AutoBalance,
    "unimodal_losses": UnimodalLosses,
    "dgl": DGL,
}
"""Row -> its method with its defaults; joint training has none."""


def worlds() -> list[World]:
    """Two worlds of each family, and six of two modalities that only speak together.

    One of each family comes first: an early end leaves all of them.
    """
    fresh = [w for w in all_worlds() if FRESH <= w.number < FRESH + PER_FAMILY]
    beside = [_beside_a_third(FRESH + index) for index in range(6)]
    return sorted([*fresh, *beside], key=lambda world: world.number)


def train(world: World, row: str, seed: int) -> float:
    """Train a world's network; the fused test accuracy of the last epoch.

    Args:
        world: Which.
        row: Of :data:`ROWS`.
        seed: Of the samples, the initial weights and the order of the samples: rows share them.
    """
    torch.set_num_threads(1)
    data = world.draw(seed, TEST)
    validation = {name: x[: world.held_out] for name, x in data["validation"].items()}
    torch.manual_seed(seed)
    network = Network(world)
    optimizer = torch.optim.SGD(network.parameters(), lr=world.lr, momentum=0.9, weight_decay=1e-4)
    make = ROWS[row]
    regulator = None
    if make is not None:
        encoders = {name: f"encoders.{name}" for name in world.sources}
        regulator = Regulator(network, optimizer, encoders, make(), head="head", target="label")
    generator = torch.Generator().manual_seed(seed)
    for epoch in range(world.epochs):
        if regulator is not None:
            regulator.begin_epoch(epoch)
        for rows in torch.randperm(world.train, generator=generator).split(BATCH):
            batch = {name: x[rows] for name, x in data["train"].items()}
            with nullcontext() if regulator is None else regulator.batch(batch):
                loss = F.cross_entropy(network(batch), batch["label"])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        if regulator is not None:
            with regulator.validation(), regulator.batch(validation), torch.no_grad():
                network(validation)
            regulator.end_epoch()
    if regulator is not None:
        regulator.close()
    return _accuracy(network, data["test"])


def complete(
    kept: Mapping[str, Any], chosen: Sequence[World], seeds: Sequence[int] = SEEDS
) -> Iterator[dict[str, Any]]:
    """Train what is missing of some worlds.

    Args:
        kept: World -> ``"family"`` and row -> test accuracies by seed, as far as it goes.
        chosen: The worlds.
        seeds: Of the runs.

    Yields:
        What should be kept, after each world.
    """
    found = dict(kept)
    for world in chosen:
        if world.name in found:
            continue
        runs = {row: [round(train(world, row, seed), 5) for seed in seeds] for row in ROWS}
        found[world.name] = {"family": world.family, **runs}
        yield found


def _beside_a_third(number: int) -> World:
    rng = np.random.default_rng([2027, number])
    key, cipher = (Source(8, rng.uniform(5, 6), shows=shows) for shows in ("key", "cipher"))
    third = Source(16, rng.uniform(1.0, 3.0))
    classes = int(rng.choice([2, 3]))
    parts = {"a": key, "b": cipher, "c": third}
    return World(BESIDE_A_THIRD, number, parts, classes, train=1500, lr=0.05, deep=True)


@torch.no_grad()
def _accuracy(network: Network, batch: Batch) -> float:
    return float((network(batch).argmax(dim=1) == batch["label"]).float().mean())
