"""Train the rows of the map's cells, and measure what a user would see of each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch

from inforeg_lightning.diagnosis.measures import measure
from inforeg_lightning.diagnosis.report import plain_evidence
from inforeg_lightning.diagnosis.suspicions import seen_of
from inforeg_lightning.methods import Monitor
from running.map.cells import TEST, Cell
from running.map.placing import DIAGNOSIS, MONITOR, by_diagnosis, by_monitor
from running.map.remedies import ENSEMBLE, JOINT, REMEDIES, Trained, train
from running.truth.families import all_worlds
from running.truth.networks import runs_of
from running.truth.worlds import Batch, World

ROWS = (JOINT, *REMEDIES)
DIAGNOSED = (0, 1, 2)
"""The seeds of a diagnosis."""
ELSEWHERE_SEEDS = (0, 1, 2)
ELSEWHERE = tuple(
    f"{family}-{number}"
    for family in (
        *("easy and hard", "both alike", "overfitting"),
        *("weak but real", "misleading", "half each"),
    )
    for number in range(100, 105)
)
"""Worlds of ``study.py truth`` that the map was not made of."""

Accuracies = dict[str, list[float]]
"""Row -> test accuracy per seed."""


def measure_cell(cell: Cell, seeds: Sequence[int], known: Mapping[str, Any]) -> dict[str, Any]:
    """All numbers of a cell.

    Args:
        cell: The cell.
        seeds: Of prototypes, samples, weights and order.
        known: What has been measured before, of the first of these seeds.

    Returns:
        ``"accuracy"``: row -> per seed; ``"diagnosis"`` and ``"monitor"``: coordinate -> per seed.
    """
    torch.set_num_threads(1)
    found = {part: {**known.get(part, {})} for part in ("accuracy", DIAGNOSIS, MONITOR)}
    for index, seed in enumerate(seeds):
        world = cell.world(seed)
        missing = [row for row in ROWS if len(found["accuracy"].get(row, ())) <= index]
        for row, trained, value in train_rows(world, world.draw(0), seed, missing):
            _append(found["accuracy"], {row: value})
            if row == JOINT and len(found[MONITOR].get("margin", ())) <= index:
                seen = {m: asdict(seen_of(trained.history, m)) for m in world.sources}
                _append(found[MONITOR], by_monitor(seen))
        if len(found[DIAGNOSIS].get("best", ())) <= index:
            _append(found[DIAGNOSIS], _diagnosed(world))
    return {**found, "accuracy": {row: found["accuracy"][row] for row in ROWS}}


def measure_elsewhere(name: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """The rows of a world that is on no map, from as many samples as its user has.

    Args:
        name: Of a world of ``study.py truth``.
        known: As for :func:`measure_cell`.
    """
    torch.set_num_threads(1)
    world = next(world for world in all_worlds() if world.name == name)
    data = world.draw(0, TEST)
    data["validation"] = {m: x[: world.held_out] for m, x in data["validation"].items()}
    accuracy = {**known.get("accuracy", {})}
    missing = [row for row in ROWS if row not in accuracy]
    for seed in ELSEWHERE_SEEDS if missing else ():
        for row, _, value in train_rows(world, data, seed, missing):
            _append(accuracy, {row: value})
    return {"accuracy": {row: accuracy[row] for row in ROWS}}


def train_rows(
    world: World, data: Mapping[str, Batch], seed: int, rows: Sequence[str]
) -> Iterator[tuple[str, Trained, float]]:
    """Each row's training with one seed, and its test accuracy."""
    label = data["test"]["label"]
    for row in rows:
        if row == ENSEMBLE:
            alone = [train(world, data, seed, kept=m) for m in world.sources]
            trained = Trained(sum((x.log_probabilities for x in alone), torch.zeros(())), [])
        else:
            remedy = REMEDIES.get(row)
            method = Monitor() if remedy is None or remedy.make is None else remedy.make()
            trained = train(world, data, seed, method)
        yield row, trained, trained.accuracy(label)


def _diagnosed(world: World) -> dict[str, float]:
    found = measure(runs_of(world, DIAGNOSED), [*world.sources])
    return by_diagnosis(plain_evidence(found.evidence), found.chance)


def _append(to: dict[str, list[float]], values: Mapping[str, float]) -> None:
    for name, value in values.items():
        to[name] = [*to.get(name, ()), round(value, 5)]
