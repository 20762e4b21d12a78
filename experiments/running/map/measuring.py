"""Train the rows of the map's cells, and measure what a user would see of each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from inforeg_lightning.diagnosis.measures import measure
from inforeg_lightning.diagnosis.report import plain_evidence
from inforeg_lightning.diagnosis.suspicions import seen_of
from inforeg_lightning.methods import Monitor
from running.map.cells import TEST, Cell
from running.map.placing import by_diagnosis, by_monitor
from running.map.remedies import ENSEMBLE, JOINT, REMEDIES, Trained, train
from running.truth.networks import runs_of
from running.truth.worlds import Batch, World, all_worlds

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
        known: What has been measured before; rows that it holds are not trained again.

    Returns:
        ``"accuracy"``: row -> per seed; ``"diagnosis"`` and ``"monitor"``: its positions, means
        over the seeds.
    """
    torch.set_num_threads(1)
    accuracy = dict(known.get("accuracy", {}))
    found = {name: known[name] for name in ("diagnosis", "monitor") if name in known}
    missing = [row for row in ROWS if row not in accuracy]
    histories: list[list[dict[str, Any]]] = []
    for seed in seeds if missing else ():
        world = cell.world(seed)
        for row, trained, value in train_rows(world, world.draw(0), seed, missing):
            accuracy.setdefault(row, []).append(value)
            if row == JOINT:
                histories.append(trained.history)
    if histories:
        seen = [{m: asdict(seen_of(h, m)) for m in ("a", "b")} for h in histories]
        found["monitor"] = _mean([by_monitor(of) for of in seen])
    if "diagnosis" not in found:
        found["diagnosis"] = _mean([_diagnosed(cell.world(seed)) for seed in seeds])
    return {"accuracy": {row: accuracy[row] for row in ROWS}, **found}


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
    accuracy = dict(known.get("accuracy", {}))
    missing = [row for row in ROWS if row not in accuracy]
    for seed in ELSEWHERE_SEEDS if missing else ():
        for row, _, value in train_rows(world, data, seed, missing):
            accuracy.setdefault(row, []).append(value)
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
        yield row, trained, round(trained.accuracy(label), 5)


def _diagnosed(world: World) -> dict[str, float]:
    found = measure(runs_of(world, DIAGNOSED), [*world.sources])
    return by_diagnosis(plain_evidence(found.evidence), found.chance)


def _mean(positions: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: round(float(np.mean([p[name] for p in positions])), 5) for name in positions[0]}
