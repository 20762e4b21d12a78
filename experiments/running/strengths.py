"""Accuracy against the strength of the pull, over learning rates, batches, sizes and optimizers."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.optim import Optimizer

from inforeg_lightning.methods import InfoReg
from running.map.cells import Cell
from running.map.pulls import AfterStep, ByRho
from running.map.remedies import JOINT, sgd, train
from running.strength_table import PAPER

WORLD = Cell(3, "a much worse", 0.3)
SEEDS = (0, 1, 2)
RATES = {"SGD": (0.01, 0.03, 0.1), "AdamW": (0.001, 0.003, 0.01)}
BATCHES, SIZES, RHOS = (16, 128), (256, 1024), (1, 4, 16, 64)
LEAST = 0.02
"""From here on a gain is one that a setting should keep half of."""
HARM = -0.005

Accuracies = Mapping[str, Sequence[float]]


def adamw(parameters: Iterable[nn.Parameter], lr: float) -> Optimizer:
    """With torch's weight decay."""
    return torch.optim.AdamW(parameters, lr=lr)


@dataclass(frozen=True)
class SetUp:
    """An optimizer, its learning rate, the batch, and the number of training samples."""

    optimizer: str
    lr: float
    batch: int
    size: int

    @property
    def name(self) -> str:
        """As readers see it."""
        return f"{self.optimizer} {self.lr:g}, batch {self.batch}, {self.size} samples"

    @property
    def steps(self) -> int:
        """Per epoch."""
        return -(-self.size // self.batch)


SET_UPS = [
    SetUp(optimizer, lr, batch, size)
    for optimizer, rates in RATES.items()
    for lr, batch, size in product(rates, BATCHES, SIZES)
]
SETTINGS: dict[str, Callable[[int], InfoReg]] = {
    JOINT: lambda steps: InfoReg(window="never"),
    PAPER: lambda steps: InfoReg(window="always"),
    "β = 3": lambda steps: InfoReg(beta=3, window="always"),
    **{f"ρ = {rho}": lambda steps, rho=rho: ByRho(rho, steps) for rho in RHOS},
    **{f"ρ = {rho} after": lambda steps, rho=rho: AfterStep(rho, steps) for rho in RHOS},
}
"""Name -> from the steps per epoch to the method."""


def measure(set_up: SetUp, seeds: Sequence[int] = SEEDS) -> dict[str, Any]:
    """Test accuracy of every setting in a set-up, per seed, and how far the leader was held."""
    torch.set_num_threads(1)
    optimizer = {"SGD": sgd, "AdamW": adamw}[set_up.optimizer]
    accuracy: dict[str, list[float]] = {name: [] for name in SETTINGS}
    held: dict[str, list[float]] = {}
    for seed in seeds:
        world = replace(WORLD.world(seed), train=set_up.size, lr=set_up.lr)
        data = world.draw(0)
        for name, make in SETTINGS.items():
            trained = train(world, data, seed, make(set_up.steps), None, optimizer, set_up.batch)
            accuracy[name].append(round(trained.accuracy(data["test"]["label"]), 5))
            held.setdefault(name, []).extend(_displacements(trained.history))
    means = {name: round(float(np.mean(x)), 3) for name, x in held.items() if x}
    return {"accuracy": accuracy, "displacement": means}


def complete(content: Mapping[str, Any], workers: int, few: int | None) -> Iterator[dict[str, Any]]:
    """Measure the set-ups that a file of results lacks, and judge.

    Args:
        content: What the file holds.
        workers: Set-ups side by side.
        few: Only so many set-ups; ``None`` for all.

    Yields:
        What it should hold, after each set-up.
    """
    from joblib import Parallel, delayed
    from tqdm import tqdm

    found = dict(content.get("set-ups", {}))
    # The longest first, so that two processes end together.
    missing = sorted((s for s in SET_UPS[:few] if s.name not in found), key=lambda s: -s.steps)
    pool = Parallel(n_jobs=workers, return_as="generator")
    results = pool(delayed(measure)(s) for s in missing) if missing else ()
    for set_up, of in zip(missing, tqdm(results, total=len(missing)), strict=True):
        found[set_up.name] = of
        yield {"set-ups": found, "judged": judge(found)}
    yield {"set-ups": found, "judged": judge(found)}


def judge(set_ups: Mapping[str, Any]) -> dict[str, Any]:
    """Per optimizer and for all together: each setting's regret, and where it holds."""
    means = {
        name: {setting: float(np.mean(x)) for setting, x in of["accuracy"].items()}
        for name, of in set_ups.items()
    }
    groups = {optimizer: [n for n in means if n.startswith(optimizer)] for optimizer in RATES}
    groups["both"] = [*means]
    return {
        group: {setting: _of_setting(setting, [means[n] for n in names]) for setting in SETTINGS}
        for group, names in groups.items()
        if names
    }


def _of_setting(setting: str, means: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    regrets = [100 * (max(of.values()) - of[setting]) for of in means]
    gains = [100 * (of[setting] - of[JOINT]) for of in means]
    return {
        "mean gain": round(float(np.mean(gains)), 2),
        "lowest gain": round(min(gains), 2),
        "mean regret": round(float(np.mean(regrets)), 2),
        "worst regret": round(max(regrets), 2),
        "holds": sum(_holds(of, setting) for of in means),
        "of": len(means),
    }


def _holds(means: Mapping[str, float], setting: str) -> bool:
    gain, best = means[setting] - means[JOINT], max(means.values()) - means[JOINT]
    return gain >= best / 2 if best >= LEAST else gain >= HARM


def _displacements(history: Sequence[Mapping[str, Any]]) -> list[float]:
    """Of the modality that was held back most, per epoch."""
    found = []
    for entry in history:
        known = [x for x in entry.get("displacement", {}).values() if x is not None]
        found += [min(known)] if known else []
    return found
