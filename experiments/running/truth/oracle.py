"""What is true of a world: measured with thousands of samples, without anything of a diagnosis.

The question that decides is causal: does the fused model get better when the encoder of a modality
is replaced by the one that was trained alone, and the classifier is fitted again? The networks are
trained on the samples that the world's user has, since the question is about that model; test
samples and weights are the oracle's own.

- A modality is **weak by nature** if alone it is at most 3 points above the share of the largest
  class, and the fused model loses at most 3 points without it (permuted over samples).
- It is **starved** if its replacement gains at least 3 points.
- **Fusion harms** if the fused model is at least 3 points below one modality alone, and either all
  others are weak by nature, or replacing encoders wins back less than half of these points.
- A model is starved if one of its modalities is (and fusion does not harm), else weak by nature if
  one of its modalities is, else healthy.

A world on the edge of one of these bounds, or too uncertain over the oracle's seeds, has no known
answer, and is left out and counted.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from inforeg_lightning.diagnosis.setup import ALONE, JOINT, Job
from running.truth.one_by_one import networks_of
from running.truth.real import RealWorld
from running.truth.worlds import World

SAMPLES = 4000
SEEDS = tuple(range(101, 109))
"""Of the oracle's own weights; a diagnosis draws others."""
CLEAR, NONE = 0.03, 0.015
"""From here on a difference counts; up to here it does not; between them is the edge."""

Measured = Mapping[str, Sequence[float]]
"""Name -> mean over seeds and its standard error."""


@dataclass(frozen=True)
class Truth:
    """The answer of a world.

    Attributes:
        verdict: Of the model; ``""`` if the world is on an edge.
        states: Modality -> ``"healthy"``, ``"starved"``, ``"weak by nature"``, or ``""``.
        measured: What it follows from.
    """

    verdict: str
    states: Mapping[str, str]
    measured: Measured = field(default_factory=dict)


def measure(world: World | RealWorld) -> dict[str, list[float]]:
    """What the answer follows from: means over seeds, with their standard errors."""
    found: dict[str, list[float]] = {}
    for once in _measured_once(world):
        for name, value in once.items():
            found.setdefault(name, []).append(value)
    return {
        name: [
            round(float(np.mean(values)), 4),
            round(float(np.std(values, ddof=1)) / len(values) ** 0.5, 4),
        ]
        for name, values in (found | differences(found, [*world.sources])).items()
    }


def answer(measured: Measured, modalities: Sequence[str]) -> Truth:
    """The truth that measurements lead to."""
    knows = {m: _at_least(measured[f"over {m}"], 2 * CLEAR, CLEAR) for m in modalities}
    used = {m: _at_least(measured[f"drop {m}"], 2 * CLEAR, CLEAR) for m in modalities}
    weak = {m: _both(_not(knows[m]), _not(used[m])) for m in modalities}
    starved = {m: _at_least(measured[f"gain {m}"]) for m in modalities}
    states = {m: _state(weak[m], starved[m]) for m in modalities}
    best = max(modalities, key=lambda m: measured[f"alone {m}"][0])
    behind, mended = measured["behind"], measured["mended"]
    others = [_not(knows[m]) for m in modalities if m != best]
    nothing = False if False in others else None if None in others else True
    share = mended[0] / behind[0] if behind[0] > 0 else 1.0
    unmended = _at_least((1 - share, 0.0), 0.6, 0.4)
    harms = _both(_at_least(behind), _not(_both(_not(nothing), _not(unmended))))
    any_starved = True in starved.values() or (None if None in starved.values() else False)
    verdict = ""
    if harms:
        verdict = "fusion harms"
    elif harms is False and any_starved is not None and None not in weak.values():
        gains = _at_least(measured["gains"])
        if any_starved and gains:
            verdict = "starved"
        elif any_starved is False and gains is False:
            verdict = "weak by nature" if any(weak.values()) else "healthy"
    return Truth(verdict, states, dict(measured))


def _measured_once(world: World | RealWorld) -> Iterator[dict[str, float]]:
    """Accuracies of one seed after the other."""
    train, test = world.draw(0)["train"], world.draw(SEEDS[0], SAMPLES)["test"]
    names, label = [*world.sources], test["label"]
    chance = float(torch.bincount(label).max()) / len(label)
    jobs = [job for s in SEEDS for job in (Job(JOINT, s), *(Job(ALONE, s, name) for name in names))]
    networks = networks_of(world, jobs)
    networks.fit(train, world.epochs, world.lr)
    order = torch.randperm(len(label), generator=torch.Generator().manual_seed(SEEDS[0]))
    with torch.no_grad():
        z = {"train": networks.features(networks.for_all(train))}
        z["test"] = networks.features(networks.for_all(test))
        fused = networks.head(z["test"])
        permuted = []
        for place in range(len(names)):
            parts = [*z["test"]]
            parts[place] = parts[place][:, order]
            permuted.append(networks.head(parts))

    def refit(runs: Sequence[int]) -> float:
        """With the encoder of each modality from one of the runs."""
        x = {
            split: torch.cat([of[p][run] for p, run in enumerate(runs)], dim=1).numpy()
            for split, of in z.items()
        }
        classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=300))
        classifier.fit(x["train"], train["label"].numpy())
        return float(classifier.score(x["test"], label.numpy()))

    for joint in (index for index, job in enumerate(jobs) if job.kind == JOINT):
        same = [joint] * len(names)
        found = {"chance": chance, "fused": _accuracy(fused[joint], label), "refit": refit(same)}
        for place, name in enumerate(names):
            lone = joint + 1 + place
            found[f"alone {name}"] = _accuracy(fused[lone], label)
            found[f"replaced {name}"] = refit([*same[:place], lone, *same[place + 1 :]])
            without = _accuracy(permuted[place][joint], label)
            found[f"drop {name}"] = found["fused"] - without
        found["all replaced"] = refit([joint + 1 + place for place in range(len(names))])
        yield found


def differences(
    found: Mapping[str, Sequence[float]], names: Sequence[str]
) -> dict[str, list[float]]:
    """What is compared with the bounds, seed by seed."""
    x = {name: np.array(values) for name, values in found.items()}
    best = max((f"alone {m}" for m in names), key=lambda name: x[name].mean())
    mends = max([*(f"replaced {m}" for m in names), "all replaced"], key=lambda n: x[n].mean())
    as_it_is = max(("fused", "refit"), key=lambda name: x[name].mean())
    made = {"behind": x[best] - x["fused"], "mended": x[mends] - x["fused"]}
    made["gains"] = x[mends] - x[as_it_is]
    for m in names:
        made[f"over {m}"] = x[f"alone {m}"] - x["chance"]
        made[f"gain {m}"] = x[f"replaced {m}"] - x["refit"]
    return {name: values.tolist() for name, values in made.items()}


def _accuracy(logits: Tensor, label: Tensor) -> float:
    return float((logits.argmax(dim=1) == label).float().mean())


def _at_least(found: Sequence[float], yes: float = CLEAR, no: float = NONE) -> bool | None:
    """Whether a value reaches one bound or stays below the other; ``None`` on the edge."""
    value, error = found
    if value >= yes and value - error > no:
        return True
    if value <= no and value + error < yes:
        return False
    return None


def _state(weak: bool | None, starved: bool | None) -> str:
    if weak:
        return "weak by nature"
    if weak is None or starved is None:
        return ""
    return "starved" if starved else "healthy"


def _both(one: bool | None, other: bool | None) -> bool | None:
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def _not(answer: bool | None) -> bool | None:
    return None if answer is None else not answer
