"""Generated worlds trained jointly and with balancing methods, by a plain loop with a Regulator."""

from collections.abc import Iterator, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from inforeg_lightning import Regulator
from inforeg_lightning.engine.method import Method
from inforeg_lightning.methods import AutoBalance, UnimodalLosses
from running.truth.networks import BATCH, Network
from running.truth.worlds import FRESH, Batch, Source, World, all_worlds

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
    rows = {JOINT: _trained(world, data, seed, None)}
    for name, make in METHODS.items():
        rows[name] = _trained(world, data, seed, make())
    return {name: round(accuracy, 5) for name, accuracy in rows.items()}


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


def _trained(world: World, data: Mapping[str, Batch], seed: int, method: Method | None) -> float:
    torch.manual_seed(seed)
    network = Network(world)
    optimizer = torch.optim.SGD(network.parameters(), lr=world.lr, momentum=0.9, weight_decay=1e-4)
    regulator = None
    if method is not None:
        encoders = {m: f"encoders.{m}" for m in world.sources}
        regulator = Regulator(network, optimizer, encoders, method, head="head", target="label")
    order = torch.Generator().manual_seed(seed)
    for epoch in range(world.epochs):
        if regulator is not None:
            regulator.begin_epoch(epoch)
        for rows in torch.randperm(world.train, generator=order).split(BATCH):
            batch = {key: values[rows] for key, values in data["train"].items()}
            _step(network, optimizer, regulator, batch)
        if regulator is not None:
            with regulator.validation(), torch.no_grad(), regulator.batch(data["validation"]):
                network(data["validation"])
            regulator.end_epoch()
    if regulator is not None:
        regulator.close()
    with torch.no_grad():
        right = network(data["test"]).argmax(dim=1) == data["test"]["label"]
    return float(right.float().mean())


def _step(
    network: Network,
    optimizer: torch.optim.Optimizer,
    regulator: Regulator | None,
    batch: Batch,
) -> None:
    if regulator is None:
        loss = F.cross_entropy(network(batch), batch["label"])
    else:
        with regulator.batch(batch):
            loss = F.cross_entropy(network(batch), batch["label"])
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
