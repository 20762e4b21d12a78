"""Train the arms of a task, and read what they know and what the gaps do on the way."""

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.linear_model import RidgeClassifier
from torch import Tensor

from inforeg_lightning import Regulator
from inforeg_lightning.core import GAPS, gaps, linear_unimodal_logits, log_probability, strength
from inforeg_lightning.methods import InfoReg
from inforeg_lightning.models import LateFusionClassifier, MLPEncoder
from running.scale.families import CLASSES, Batch, Family, Splits

BATCH, BETA = 64, 0.9
WINDOWS = ("paper", "always")
JOINT = "joint"
ALONE = 1
"""As a size: every modality of a family, each alone."""


def arms(size: int) -> list[str]:
    """Joint training, and InfoReg by window and gap; with two modalities all gaps are one."""
    kinds = GAPS if size > 2 else GAPS[:1]
    return [JOINT, *(f"{window} {gap}" for window in WINDOWS for gap in kinds)]


def train_cell(family: Family, size: int, seed: int) -> dict[str, Any]:
    """All arms of one task of one seed.

    Returns:
        Of ``ALONE``: modality -> accuracy of its probe. Else arm -> what was measured: test
        ``accuracy`` of the fused prediction, ``probe`` by modality, the mean ``displacement`` of
        the encoders over modalities and periods, and, of joint training, ``gaps``.
    """
    torch.set_num_threads(1)
    splits = family.draw(seed)
    if size == ALONE:
        names = [name for name in splits["train"] if name != "label"]
        return {name: _train(family, splits, [name], seed).probes()[name] for name in names}
    chosen = family.chosen(size, seed)
    return {arm: _arm(family, splits, chosen, seed, arm) for arm in arms(size)}


def _arm(
    family: Family, splits: Splits, names: Sequence[str], seed: int, arm: str
) -> dict[str, Any]:
    trained = _train(family, splits, names, seed, arm)
    found = {"accuracy": trained.accuracy(), "probe": trained.probes()}
    if arm == JOINT:
        return {**found, "gaps": trained.meter.means()}
    moved = [d for entry in trained.history for d in entry["displacement"].values()]
    known = [d for d in moved if d is not None]
    return {**found, "displacement": round(fmean(known), 4) if known else None}


@dataclass
class GapMeter:
    """What each gap would do at every step of a joint training.

    Attributes:
        sums: Gap -> one row per step: the share of modalities that are held back, the means of
            tanh Δ and of α over those, and by what the strongest one's α is above their mean.
    """

    sums: dict[str, list[list[float]]] = field(default_factory=lambda: defaultdict(list))

    def see(self, logits: Mapping[str, Tensor], label: Tensor) -> None:
        """Look at the unimodal logits of a batch."""
        scores = torch.stack([log_probability(x.detach(), label).mean() for x in logits.values()])
        for over in GAPS:
            gap = gaps(scores, over)
            held = gap > 0
            if held.any():
                alpha = strength(gap, BETA)
                mean = alpha[held].mean()
                of = [held.float().mean(), gap[held].tanh().mean(), mean, alpha.max() - mean]
                self.sums[over].append([float(x) for x in of])

    def means(self) -> dict[str, list[float]]:
        """Gap -> the four means over the steps."""
        return {over: np.mean(rows, axis=0).round(4).tolist() for over, rows in self.sums.items()}


@dataclass
class Trained:
    """A network after training, and what it was trained on."""

    model: LateFusionClassifier
    splits: Splits
    meter: GapMeter
    history: list[dict[str, Any]]

    @torch.no_grad()
    def accuracy(self) -> float:
        """Of the fused prediction, on the test split."""
        test = self.splits["test"]
        return round(float((self.model(test).argmax(dim=1) == test["label"]).float().mean()), 4)

    @torch.no_grad()
    def probes(self) -> dict[str, float]:
        """Modality -> test accuracy of a ridge classifier on its training features."""
        features = {split: self.model.features(batch) for split, batch in self.splits.items()}
        label = {split: batch["label"].numpy() for split, batch in self.splits.items()}
        found = {}
        for name in self.model.modalities:
            probe = RidgeClassifier(alpha=1.0).fit(features["train"][name].numpy(), label["train"])
            found[name] = round(probe.score(features["test"][name].numpy(), label["test"]), 4)
        return found


def _model(splits: Splits, names: Sequence[str], seed: int, family: Family) -> LateFusionClassifier:
    torch.manual_seed(seed)
    encoders = {name: MLPEncoder(splits["train"][name].shape[1]) for name in names}
    step = max(1, 2 * family.epochs // 3)
    return LateFusionClassifier(encoders, CLASSES, lr=family.lr, step_size=step)


def _regulator(
    model: LateFusionClassifier, optimizer: torch.optim.Optimizer, window: str, gap: str
) -> Regulator:
    paths = {name: f"encoders.{name}" for name in model.modalities}
    return Regulator(model, optimizer, paths, InfoReg(BETA, window=window, gap=gap), head="head")


def _train(
    family: Family, splits: Splits, names: Sequence[str], seed: int, arm: str = JOINT
) -> Trained:
    """By the network's own optimiser; the same weights and order of batches for every arm."""
    model, train = _model(splits, names, seed, family), splits["train"]
    plan = model.configure_optimizers()
    optimizer = plan["optimizer"]
    regulator = None if arm == JOINT else _regulator(model, optimizer, *arm.split())
    order = torch.Generator().manual_seed(seed)
    meter = GapMeter()
    for epoch in range(family.epochs):
        if regulator is not None:
            regulator.begin_epoch(epoch)
        for rows in torch.randperm(len(train["label"]), generator=order).split(BATCH):
            batch = {name: train[name][rows] for name in (*names, "label")}
            if regulator is None:
                _joint_step(model, optimizer, batch, meter if len(names) > 1 else None)
            else:
                _regulated_step(model, optimizer, batch, regulator)
        if regulator is not None:
            regulator.end_epoch()
        plan["lr_scheduler"].step()
    history = [] if regulator is None else regulator.history
    if regulator is not None:
        regulator.close()
    return Trained(model, splits, meter, history)


def _joint_step(
    model: LateFusionClassifier,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    meter: GapMeter | None = None,
) -> None:
    features = model.features(batch)
    loss = F.cross_entropy(model.fuse(features), batch["label"])
    if meter is not None:
        head = model.head
        logits = linear_unimodal_logits(head.weight.detach(), head.bias.detach(), features)
        meter.see(logits, batch["label"])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def _regulated_step(
    model: LateFusionClassifier,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    regulator: Regulator,
) -> None:
    with regulator.batch(batch["label"]):
        loss = F.cross_entropy(model(batch), batch["label"])
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()


def price(family: Family, size: int, rounds: int = 150) -> dict[str, list[float]]:
    """CPU time of a step by that of a joint step beside it, in one process, by turns.

    Args:
        family: Of the task.
        size: Number of modalities.
        rounds: Steps of each kind; the first tenth warms up.

    Returns:
        ``"inside"``, every encoder in its window, and ``"outside"``, none -> lower quartile,
        median and upper quartile of the ratios.
    """
    torch.set_num_threads(1)
    splits = family.draw(0)
    names = family.chosen(size, 0)
    batch = {name: splits["train"][name][:BATCH] for name in (*names, "label")}
    steps = {"joint": _timed(family, splits, names, batch, None)}
    for name, window in (("inside", "always"), ("outside", "never")):
        steps[name] = _timed(family, splits, names, batch, window)
    seconds: dict[str, list[float]] = defaultdict(list)
    for _ in range(rounds):
        for name, step in steps.items():
            before = time.process_time()
            step()
            seconds[name].append(time.process_time() - before)
    kept = {name: np.array(of[rounds // 10 :]) for name, of in seconds.items()}
    return {
        name: np.quantile(kept[name] / kept["joint"], [0.25, 0.5, 0.75]).round(3).tolist()
        for name in ("inside", "outside")
    }


def _timed(
    family: Family, splits: Splits, names: Sequence[str], batch: Batch, window: str | None
) -> Any:
    model = _model(splits, names, 0, family)
    optimizer = model.configure_optimizers()["optimizer"]
    if window is None:
        return lambda: _joint_step(model, optimizer, batch)
    regulator = _regulator(model, optimizer, window, GAPS[0])
    regulator.begin_epoch(0)
    return lambda: _regulated_step(model, optimizer, batch, regulator)
