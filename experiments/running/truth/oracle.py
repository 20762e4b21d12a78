"""What is true of a world: measured with thousands of samples, without anything of a diagnosis.

The question that decides is causal: does the fused model get better when the encoder of a modality
is replaced by the one that was trained alone, and the classifier is fitted again?

- A modality is **weak by nature** if alone it is at most 3 points above the share of the largest
  class, and the fused model loses less than 3 points without it (permuted over samples).
- It is **starved** if its replacement gains at least 3 points.
- **Fusion harms** if the fused model is at least 3 points below one modality alone, and either all
  others are weak by nature, or replacing encoders wins back less than half of these points.
- A model is starved if one of its modalities is (and fusion does not harm), else weak by nature if
  one of its modalities is, else healthy.

A world on the edge of one of these bounds has no known answer, and is left out and counted.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from running.truth.worlds import Batch, World

SAMPLES = 4000
SEEDS = (101, 102, 103)
"""Of the oracle's own samples and weights; a diagnosis draws others."""
HIDDEN, OUT = 32, 16
CLEAR, NONE = 0.03, 0.015
"""From here on a difference counts; up to here it does not; between them is the edge."""


@dataclass(frozen=True)
class Truth:
    """The answer of a world.

    Attributes:
        verdict: Of the model; ``""`` if the world is on an edge.
        states: Modality -> ``"healthy"``, ``"starved"``, ``"weak by nature"``, or ``""``.
        measured: What it follows from, means over seeds.
    """

    verdict: str
    states: Mapping[str, str]
    measured: Mapping[str, float] = field(default_factory=dict)


class Network(nn.Module):
    """An encoder of two layers per modality, and a head over all of them.

    Args:
        world: Whose modalities and classes it has.
    """

    def __init__(self, world: World) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Linear(width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, OUT), nn.ReLU()
                )
                for name, width in world.widths.items()
            }
        )
        features = OUT * len(world.widths)
        hidden = nn.Sequential(nn.Linear(features, HIDDEN), nn.ReLU())
        self.head = (
            nn.Sequential(*hidden, nn.Linear(HIDDEN, world.classes))
            if world.deep
            else nn.Linear(features, world.classes)
        )

    def features(self, batch: Batch) -> dict[str, Tensor]:
        """Modality -> features ``(B, 16)``."""
        return {name: encoder(batch[name]) for name, encoder in self.encoders.items()}

    def forward(self, batch: Batch, kept: str | None = None) -> Tensor:
        """Logits; with the features of all modalities but one at zero if ``kept`` names it."""
        z = self.features(batch)
        parts = [x if kept in (None, name) else torch.zeros_like(x) for name, x in z.items()]
        return self.head(torch.cat(parts, dim=1))


def measure(world: World) -> dict[str, float]:
    """Means over seeds of what the answer follows from; all are accuracies but ``chance``."""
    found: dict[str, list[float]] = {}
    for seed in SEEDS:
        for name, value in _measure_once(world, seed).items():
            found.setdefault(name, []).append(value)
    return {name: round(sum(values) / len(values), 4) for name, values in found.items()}


def answer(measured: Mapping[str, float], modalities: tuple[str, ...]) -> Truth:
    """The truth that measurements lead to."""
    alone = {m: measured[f"alone {m}"] for m in modalities}
    weak = {
        m: _both(
            _at_least(measured["chance"] + CLEAR - alone[m], 0.0, -CLEAR),
            _at_least(CLEAR - measured[f"drop {m}"], 0.0, -CLEAR),
        )
        for m in modalities
    }
    starved = {m: _at_least(measured[f"replaced {m}"] - measured["refit"]) for m in modalities}
    states = {
        m: _word(weak[m], "weak by nature") or _word(starved[m], "starved") or "healthy"
        if None not in (weak[m], starved[m])
        else ""
        for m in modalities
    }
    best = max(alone, key=alone.__getitem__)
    behind = alone[best] - measured["fused"]
    mended = max(measured[f"replaced {m}"] for m in modalities)
    mended = max(mended, measured["all replaced"])
    others = [weak[m] for m in modalities if m != best]
    alone_knows = None if None in others else all(others)
    share = (mended - measured["fused"]) / behind if behind > 0 else 1.0
    unmended = _at_least(1 - share, 0.6, 0.4)
    harms = _both(_at_least(behind), True if alone_knows else _either(alone_knows, unmended))
    any_starved = (
        None
        if None in starved.values() and True not in starved.values()
        else (True in starved.values())
    )
    gains = _at_least(mended - max(measured["fused"], measured["refit"]))
    verdict = ""
    if harms:
        verdict = "fusion harms"
    elif harms is False and None not in (any_starved, gains) and None not in weak.values():
        if any_starved and gains:
            verdict = "starved"
        elif not any_starved and not gains:
            verdict = "weak by nature" if any(weak.values()) else "healthy"
    return Truth(verdict, states, dict(measured))


def _measure_once(world: World, seed: int) -> dict[str, float]:
    data = world.draw(seed, SAMPLES)
    train, test = data["train"], data["test"]
    label = test["label"]
    joint = _trained(world, train, seed, None)
    found = {
        "chance": float(torch.bincount(label).max()) / len(label),
        "fused": _accuracy(joint(test), label),
    }
    z_train, z_test = joint.features(train), joint.features(test)
    found["refit"] = _refit(z_train, z_test, train, label)
    order = torch.randperm(len(label), generator=torch.Generator().manual_seed(seed))
    own_train, own_test = {}, {}
    for name in world.sources:
        lone = _trained(world, train, seed, name)
        found[f"alone {name}"] = _accuracy(lone(test, name), label)
        own_train[name], own_test[name] = lone.features(train)[name], lone.features(test)[name]
        swapped = ({**z_train, name: own_train[name]}, {**z_test, name: own_test[name]})
        found[f"replaced {name}"] = _refit(*swapped, train, label)
        permuted = joint({**test, name: test[name][order]})
        found[f"drop {name}"] = found["fused"] - _accuracy(permuted, label)
    found["all replaced"] = _refit(own_train, own_test, train, label)
    return found


def _trained(world: World, train: Batch, seed: int, kept: str | None) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(world)
        optimizer = torch.optim.SGD(
            network.parameters(), lr=world.lr, momentum=0.9, weight_decay=1e-4
        )
        for _ in range(world.epochs):
            for rows in torch.randperm(world.train).split(64):
                batch = {name: x[rows] for name, x in train.items()}
                loss = F.cross_entropy(network(batch, kept), batch["label"])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
    return network.eval().requires_grad_(False)


def _refit(
    train: Mapping[str, Tensor], test: Mapping[str, Tensor], batch: Batch, label: Tensor
) -> float:
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
    classifier.fit(torch.cat([*train.values()], 1).numpy(), batch["label"].numpy())
    return float(classifier.score(torch.cat([*test.values()], 1).numpy(), label.numpy()))


def _accuracy(logits: Tensor, label: Tensor) -> float:
    return float((logits.argmax(dim=1) == label).float().mean())


def _at_least(value: float, yes: float = CLEAR, no: float = NONE) -> bool | None:
    """Whether a value reaches one bound; ``None`` if it stays between the bounds."""
    return True if value >= yes else False if value <= no else None


def _both(one: bool | None, other: bool | None) -> bool | None:
    if False in (one, other):
        return False
    return None if None in (one, other) else True


def _either(one: bool | None, other: bool | None) -> bool | None:
    if True in (one, other):
        return True
    return None if None in (one, other) else False


def _word(holds: bool | None, word: str) -> str:
    return word if holds else ""
