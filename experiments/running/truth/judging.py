"""Diagnose the worlds as a user would, and hold what is said against what is true."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F

from inforeg_lightning.diagnosis import STATES, UNCLEAR, Thresholds, diagnose
from inforeg_lightning.diagnosis.intervals import Estimate
from inforeg_lightning.diagnosis.report import Diagnosis
from inforeg_lightning.diagnosis.rules import Evidence, state_of, verdict_of
from running.truth.oracle import Network
from running.truth.worlds import Batch, World

SEEDS = (0, 1, 2)


class WorldModule(L.LightningModule):
    """The network of a world, trained as its user trains it."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self.network, self.lr = Network(world), world.lr

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Cross-entropy of the fused logits."""
        return F.cross_entropy(self.network(batch), batch["label"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """As the oracle's."""
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9, weight_decay=1e-4)


class Batches:
    """A loader of tensors: slices of them, which is faster than samples one by one.

    Args:
        data: Modality and ``"label"`` -> samples.
        shuffle: Whether each pass has an order of its own.
    """

    def __init__(self, data: Batch, shuffle: bool) -> None:
        self.data, self.shuffle = data, shuffle

    def __len__(self) -> int:
        return -(-len(self.data["label"]) // 64)

    def __iter__(self) -> Iterator[Batch]:
        samples = len(self.data["label"])
        order = torch.randperm(samples) if self.shuffle else torch.arange(samples)
        for rows in order.split(64):
            yield {name: x[rows] for name, x in self.data.items()}


def examine(world: World, seeds: Sequence[int] = SEEDS) -> Diagnosis:
    """The diagnosis of a world, from as many samples as its user has."""
    data = world.draw(0)
    return diagnose(
        lambda: WorldModule(world),
        *(Batches(data[split], split == "train") for split in ("train", "validation", "test")),
        encoders={m: f"network.encoders.{m}" for m in world.sources},
        head="network.head",
        max_epochs=world.epochs,
        seeds=seeds,
        trainer={"accelerator": "cpu"},
        threads=1,
        progress=False,
    )


def judged(evidence: Mapping[str, Any], at: Thresholds) -> tuple[str, dict[str, str]]:
    """Verdict and states that kept evidence leads to, so that rules can be tried without training.

    Args:
        evidence: As a diagnosis writes it.
        at: Thresholds.
    """
    found = evidence_of(evidence)
    states = {m: state_of(found, m, at) for m in found.drop}
    return verdict_of(found, states, at), states


def evidence_of(content: Mapping[str, Any]) -> Evidence:
    """Evidence from plain data: lists of value, low and high."""

    def one(x: Any) -> Estimate | None:
        return None if x is None else Estimate(*x)

    return Evidence(
        *({m: one(x) for m, x in content[k].items()} for k in ("over_chance", "drop", "probe")),
        one(content["gain"]),
        content["best"],
        one(content["table"]),
    )


def confusion(pairs: Sequence[tuple[str, str]]) -> dict[str, dict[str, int]]:
    """Truth -> what was said -> how often."""
    return {
        truth: {said: sum(pair == (truth, said) for pair in pairs) for said in STATES}
        for truth in STATES
        if any(pair[0] == truth for pair in pairs)
    }


def summary(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """How often a diagnosis was right, and what it says of what does not suffer."""
    others = [said for truth, said in pairs if truth != "starved"]
    healthy = [said for truth, said in pairs if truth == "healthy"]
    return {
        "worlds": len(pairs),
        "right": sum(truth == said for truth, said in pairs),
        "cannot tell": sum(said == UNCLEAR for _, said in pairs),
        "starved, said of a healthy model": [healthy.count("starved"), len(healthy)],
        "starved, said of any that is not": [others.count("starved"), len(others)],
        "confusion": confusion(pairs),
    }
