"""The networks of an oracle trained one after the other, where encoders are convolutional.

It has what the oracle asks of :class:`~running.truth.networks.Networks`.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from inforeg_lightning.diagnosis.setup import ALONE, LOSSES, Job
from running.truth.networks import BATCH, Network, Networks
from running.truth.real import RealWorld
from running.truth.worlds import Batch, World


class OneByOne:
    """One network per run.

    Args:
        world: Whose networks they are.
        jobs: What each run trains, jointly or alone.
    """

    def __init__(self, world: World | RealWorld, jobs: Sequence[Job]) -> None:
        if any(job.kind == LOSSES for job in jobs):
            raise ValueError("an oracle has no use for unimodal losses, which are not trained here")
        self.jobs = jobs
        seed = world.seed + 1_000_003 * jobs[0].seed
        self.generator = torch.Generator().manual_seed(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.networks = [Network(world) for _ in jobs]

    def fit(self, train: Batch, epochs: int, lr: float) -> None:
        """Train all of them, each with an order of its own."""
        for network, job in zip(self.networks, self.jobs, strict=True):
            self._fit(network, job.modality if job.kind == ALONE else None, train, epochs, lr)

    def for_all(self, batch: Batch) -> Batch:
        """A batch, the same for every run."""
        return batch

    def features(self, batch: Batch) -> list[Tensor]:
        """Per modality ``(runs, B, D)``, zero where it is held."""
        found = [
            network.features(batch, job.modality or None)
            for network, job in zip(self.networks, self.jobs, strict=True)
        ]
        return [torch.stack([of[name] for of in found]) for name in found[0]]

    def head(self, features: Sequence[Tensor]) -> Tensor:
        """Logits ``(runs, B, C)``."""
        z = torch.cat([*features], dim=2)
        return torch.stack([n.head(x) for n, x in zip(self.networks, z, strict=True)])

    def _fit(
        self, network: Network, kept: str | None, train: Batch, epochs: int, lr: float
    ) -> None:
        optimizer = torch.optim.SGD(network.parameters(), lr, momentum=0.9, weight_decay=1e-4)
        for _ in range(epochs):
            order = torch.randperm(len(train["label"]), generator=self.generator)
            for rows in order.split(BATCH):
                batch: Batch = {name: x[rows] for name, x in train.items()}
                loss = F.cross_entropy(network(batch, kept), batch["label"])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()


def networks_of(world: World | RealWorld, jobs: Sequence[Job]) -> "Networks | OneByOne":
    """The networks of a world: all at once, unless they are convolutional."""
    if isinstance(world, RealWorld) and world.has_pictures:
        return OneByOne(world, jobs)
    return Networks(world, jobs)
