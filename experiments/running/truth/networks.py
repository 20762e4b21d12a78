"""The network of a world; and all runs of a diagnosis at once, as batched matrix products.

The Trainer's own work is most of the time of networks as small as these. What the runs leave is
what :func:`~inforeg_lightning.diagnosis.diagnose` has of its runs, and goes through the same
measures and rules; a test holds both beside each other.
"""

from collections.abc import Sequence
from itertools import combinations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inforeg_lightning.diagnosis.reading import subset_name
from inforeg_lightning.diagnosis.setup import ALONE, JOINT, LOSSES, Job, Run
from inforeg_lightning.diagnosis.training import probe_classes
from inforeg_lightning.models import ConvEncoder
from running.truth.real import RealWorld
from running.truth.worlds import Batch, World

BATCH, HIDDEN, OUT = 64, 32, 16


def runs_of(world: World | RealWorld, seeds: Sequence[int]) -> list[Run]:
    """Every run of a diagnosis, from as many samples as the world's user has."""
    data = world.draw(0)
    names = [*world.sources]
    jobs = [
        job
        for seed in seeds
        for job in (Job(JOINT, seed), *(Job(ALONE, seed, m) for m in names), Job(LOSSES, seed))
    ]
    networks = Networks(world, jobs)
    networks.fit(data["train"], world.epochs, world.lr)
    return networks.read(data)


def encoder_of(shape: Sequence[int]) -> tuple[nn.Module, int]:
    """An encoder for samples of a shape, and how many features it returns.

    Two layers for a vector; for the pictures and the sound of AV-Digits those of its recipe, the
    former half as wide.
    """
    if len(shape) == 1:
        layers = nn.Linear(shape[0], HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUT), nn.ReLU()
        return nn.Sequential(*layers), OUT
    if shape[-1] == 24:
        return ConvEncoder(widths=(8, 16, 32), pool=True), 32
    return ConvEncoder(widths=(16, 32, 64)), 64


class Network(nn.Module):
    """An encoder per modality, and a head over all of them.

    Args:
        world: Whose modalities and classes it has.
    """

    def __init__(self, world: World | RealWorld) -> None:
        super().__init__()
        made = {name: encoder_of(shape) for name, shape in world.shapes.items()}
        self.encoders = nn.ModuleDict({name: encoder for name, (encoder, _) in made.items()})
        self.widths = {name: width for name, (_, width) in made.items()}
        features = sum(self.widths.values())
        hidden = nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU())
        self.head = (
            nn.Sequential(*hidden, nn.Linear(HIDDEN, world.classes))
            if world.deep
            else nn.Linear(features, world.classes)
        )

    def features(self, batch: Batch, kept: str | None = None) -> dict[str, Tensor]:
        """Modality -> features ``(B, D)``; zero for all modalities but one if ``kept`` names it."""
        size = len(batch["label"])
        return {
            name: encoder(batch[name])
            if kept in (None, name)
            else torch.zeros(size, self.widths[name])
            for name, encoder in self.encoders.items()
        }

    def forward(self, batch: Batch, kept: str | None = None) -> Tensor:
        """Logits."""
        return self.head(torch.cat([*self.features(batch, kept).values()], dim=1))


class Networks(nn.Module):
    """One network per run, with a leading dimension of runs in every parameter.

    Args:
        world: Whose networks they are.
        jobs: What each run trains.
    """

    def __init__(self, world: World | RealWorld, jobs: Sequence[Job]) -> None:
        super().__init__()
        self.world, self.jobs, self.names = world, jobs, [*world.sources]
        generator = torch.Generator().manual_seed(world.seed + 1_000_003 * jobs[0].seed)
        self.generator = generator
        runs, parts = len(jobs), len(self.names)
        layers = {}
        for name, width in world.widths.items():
            layers |= {f"{name} 1": (width, HIDDEN), f"{name} 2": (HIDDEN, OUT)}
            layers[f"{name} own"] = (OUT, world.classes)
        if world.deep:
            layers["head 1"] = (OUT * parts, HIDDEN)
        layers["head"] = (HIDDEN if world.deep else OUT * parts, world.classes)
        self.weights = nn.ParameterDict()
        for name, (width, out) in layers.items():  # as torch.nn.Linear draws them
            for kind, shape in (("weight", (runs, width, out)), ("bias", (runs, 1, out))):
                drawn = torch.rand(shape, generator=generator) * 2 - 1
                self.weights[f"{name} {kind}"] = nn.Parameter(drawn / width**0.5)
        kept = [[job.kind != ALONE or job.modality == m for m in self.names] for job in jobs]
        self.kept = torch.tensor(kept, dtype=torch.float32)
        self.with_losses = torch.tensor([float(job.kind == LOSSES) for job in jobs])

    def features(self, x: dict[str, Tensor]) -> list[Tensor]:
        """Per modality ``(runs, B, OUT)``, zero where it is held."""
        found = []
        for index, name in enumerate(self.names):
            hidden = F.relu(self._layer(f"{name} 1", x[name]))
            z = F.relu(self._layer(f"{name} 2", hidden))
            found.append(z * self.kept[:, index, None, None])
        return found

    def head(self, features: Sequence[Tensor]) -> Tensor:
        """Logits ``(runs, B, C)``."""
        z = torch.cat([*features], dim=2)
        if self.world.deep:
            z = F.relu(self._layer("head 1", z))
        return self._layer("head", z)

    def fit(self, train: Batch, epochs: int, lr: float) -> None:
        """Train all of them, each with an order of its own."""
        optimizer = torch.optim.SGD(self.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4)
        samples = len(train["label"])
        for _ in range(epochs):
            order = torch.rand(len(self.jobs), samples, generator=self.generator).argsort(dim=1)
            for rows in order.split(BATCH, dim=1):
                z = self.features({m: train[m][rows] for m in self.names})
                label = train["label"][rows]
                loss = _losses(self.head(z), label).sum()
                for name, features in zip(self.names, z, strict=True):
                    own = _losses(self._layer(f"{name} own", features), label)
                    loss = loss + (own * self.with_losses).sum()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    @torch.no_grad()
    def read(self, data: dict[str, Batch]) -> list[Run]:
        """What each run says of validation and test, as a diagnosis keeps it."""
        z = {split: self.features(self.for_all(batch)) for split, batch in data.items()}
        runs = [Run(job, {"epochs": self.world.epochs}) for job in self.jobs]
        logits = {s: self.head(z[s]) for s in ("validation", "test")}
        logits = {f"{split} logits": x for split, x in logits.items()}
        label = data["test"]["label"]
        for size in range(len(self.names)):
            for kept in combinations(self.names, size):
                parts = [
                    x if m in kept else torch.zeros_like(x)
                    for m, x in zip(self.names, z["test"], strict=True)
                ]
                logits[subset_name(kept)] = self.head(parts)
        for index, name in enumerate(self.names):
            order = torch.randperm(len(label), generator=self.generator)
            parts = [*z["test"]]
            parts[index] = parts[index][:, order]
            logits[f"permuted {name}"] = self.head(parts)
            for run in runs:
                run.arrays[f"same class {name}"] = (label[order] == label).numpy()
        for index, run in enumerate(runs):
            run.arrays |= {name: x[index].numpy() for name, x in logits.items()}
            for split in ("validation", "test"):
                run.arrays[f"{split} target"] = data[split]["label"].numpy()
            for place, name in enumerate(self.names):
                if run.job.kind == JOINT or run.job.modality == name:
                    run.arrays[f"probe {name}"] = probe_classes(
                        z["train"][place][index].numpy(),
                        data["train"]["label"].numpy(),
                        z["test"][place][index].numpy(),
                    )
        return runs

    def for_all(self, batch: Batch) -> Batch:
        """A batch, the same for every run."""
        return {m: batch[m].expand(len(self.jobs), *batch[m].shape) for m in self.names}

    def _layer(self, name: str, x: Tensor) -> Tensor:
        return torch.baddbmm(self.weights[f"{name} bias"], x, self.weights[f"{name} weight"])


def _losses(logits: Tensor, label: Tensor) -> Tensor:
    """Mean cross-entropy per run."""
    found = F.cross_entropy(logits.flatten(0, 1), label.flatten(), reduction="none")
    return found.reshape(label.shape).mean(dim=1)
