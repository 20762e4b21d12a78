"""From what the runs have left to numbers with intervals, and to what the rules read."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from inforeg_lightning.diagnosis.course import Course, course_of
from inforeg_lightning.diagnosis.intervals import Array, Estimate, estimate
from inforeg_lightning.diagnosis.reading import subset_name
from inforeg_lightning.diagnosis.rules import Evidence
from inforeg_lightning.diagnosis.setup import ALONE, JOINT, LOSSES, Run
from inforeg_lightning.diagnosis.shapley import (
    sampled_shapley,
    shapley,
    shapley_interactions,
    subsets_of,
)

ENSEMBLE = "ensemble"
_TEMPERATURES = np.geomspace(0.25, 8.0, 31)
_SORTED = 0.3
"""By how much more often than by chance a permuted sample may come from the same class."""


@dataclass
class Measures:
    """All numbers of a diagnosis; a number that could not be measured is left out.

    Attributes:
        accuracy: ``"fused"``, ``"ensemble"``, ``"unimodal losses"``, ``"<modality> alone"`` ->
            accuracy.
        chance: Of always naming the largest class.
        probes: ``"<modality> joint"`` and ``"<modality> alone"`` -> accuracy of a linear probe.
        shares: Modality -> its Shapley share of the fused model's accuracy.
        interactions: ``"<modality> & <modality>"`` -> their Shapley interaction.
        calibration: As ``accuracy`` -> expected calibration error.
        course: What the joint runs saw of each epoch.
        remedy: Which of ensemble and unimodal losses was better on validation.
        evidence: What the rules read.
        notes: Sentences on what was left out or is to be read with care.
    """

    accuracy: dict[str, Estimate] = field(default_factory=dict)
    chance: float = float("nan")
    probes: dict[str, Estimate] = field(default_factory=dict)
    shares: dict[str, Estimate] = field(default_factory=dict)
    interactions: dict[str, Estimate] = field(default_factory=dict)
    calibration: dict[str, float] = field(default_factory=dict)
    course: Course = field(default_factory=dict)
    remedy: str = ""
    evidence: Evidence = field(default_factory=lambda: Evidence({}, {}, {}, None, "", None))
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Answers:
    """Log-probabilities for the validation and test samples by the runs of one kind.

    Attributes:
        validation: Seed -> shape ``(N, C)``.
        test: Seed -> shape ``(N, C)``.
    """

    validation: Mapping[int, Array]
    test: Mapping[int, Array]


def measure(runs: Sequence[Run], modalities: Sequence[str], exact_up_to: int = 6) -> Measures:
    """Measure everything that the runs without a problem allow.

    Args:
        runs: Of a diagnosis.
        modalities: Their names.
        exact_up_to: Up to so many modalities Shapley shares are exact, and beyond sampled.
    """
    sound = [run for run in runs if not run.problem]
    found = Measures(notes=[run.problem for run in runs if run.problem])
    if not sound:
        return found
    target = {split: sound[0].arrays[f"{split} target"] for split in ("validation", "test")}
    same = [
        run
        for run in sound
        if all(np.array_equal(run.arrays[f"{split} target"], of) for split, of in target.items())
    ]
    if len(same) < len(sound):
        found.notes.append(
            f"{len(sound) - len(same)} runs saw other validation or test samples than the first, "
            "or in another order, and are left out: give loaders that do not shuffle"
        )
    of: dict[str, Answers] = {}
    for name, kind, modality in _branches(modalities):
        chosen = [run for run in same if run.job.kind == kind and run.job.modality == modality]
        if chosen:
            of[name] = _answers(chosen)
    if all(_alone(m) in of for m in modalities):
        of[ENSEMBLE] = _ensemble([of[_alone(m)] for m in modalities], target["validation"])
    for name, answers in of.items():
        found.accuracy[name] = estimate(np.stack(_hits(answers.test, target["test"])))
        found.calibration[name] = calibration_error([*answers.test.values()], target["test"])
    joint = [run for run in same if run.job.kind == JOINT]
    most = int(np.bincount(target["validation"]).argmax())
    found.chance = float((target["test"] == most).mean())
    _take_apart(found, joint, target["test"], modalities, exact_up_to)
    found.evidence = _evidence(found, of, same, target, most, modalities)
    found.course = course_of(joint, modalities)
    return found


def calibration_error(logits: Sequence[Array], target: Array) -> float:
    """Expected calibration error in 15 bins, mean over seeds."""
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    label = torch.as_tensor(target)
    return float(
        np.mean(
            [
                float(
                    multiclass_calibration_error(
                        torch.as_tensor(x).exp(), label, num_classes=x.shape[1], n_bins=15
                    )
                )
                for x in logits
            ]
        )
    )


def _branches(modalities: Iterable[str]) -> list[tuple[str, str, str]]:
    alone = [(_alone(m), ALONE, m) for m in modalities]
    return [("fused", JOINT, ""), *alone, (LOSSES, LOSSES, "")]


def _alone(modality: str) -> str:
    return f"{modality} alone"


def _answers(runs: Sequence[Run]) -> Answers:
    return Answers(
        *(
            {run.job.seed: _log_softmax(run.arrays[f"{split} logits"]) for run in runs}
            for split in ("validation", "test")
        )
    )


def _log_softmax(x: Array) -> Array:
    from scipy.special import log_softmax

    found: Array = log_softmax(np.asarray(x, dtype=float), axis=1)
    return found


def _ensemble(parts: Sequence[Answers], target: Array) -> Answers:
    """The product of the modalities' probabilities, each at the temperature of its validation."""
    seeds = sorted(set.intersection(*({*part.test} for part in parts)))
    validation: dict[int, Array] = {}
    test: dict[int, Array] = {}
    for seed in seeds:
        scale = [_temperature(part.validation[seed], target) for part in parts]
        for into, split in ((validation, "validation"), (test, "test")):
            summed = sum(
                getattr(part, split)[seed] / t for part, t in zip(parts, scale, strict=True)
            )
            into[seed] = _log_softmax(np.asarray(summed))
    return Answers(validation, test)


def _temperature(logits: Array, target: Array) -> float:
    rows = np.arange(len(target))
    losses = [-_log_softmax(logits / t)[rows, target].mean() for t in _TEMPERATURES]
    return float(_TEMPERATURES[int(np.argmin(losses))])


def _hits(of: Mapping[int, Array], target: Array) -> list[Array]:
    return [x.argmax(axis=1) == target for _, x in sorted(of.items())]


def _difference(
    one: Mapping[int, Array], other: Mapping[int, Array], target: Array
) -> Estimate | None:
    """Accuracy of one minus that of the other, on the same samples and seeds."""
    seeds = sorted({*one} & {*other})
    if not seeds:
        return None
    pairs = (_hits({s: one[s]}, target) + _hits({s: other[s]}, target) for s in seeds)
    return estimate(np.stack([a.astype(float) - b for a, b in pairs]))


def _take_apart(
    found: Measures,
    joint: Sequence[Run],
    target: Array,
    modalities: Sequence[str],
    exact_up_to: int,
) -> None:
    """Shapley shares and interactions of the joint runs' accuracy."""
    if not joint:
        return

    def accuracy(name: str) -> Array:
        hits = [run.arrays[name].argmax(axis=1) == target for run in joint]
        return np.stack(hits).astype(float)

    subsets = subsets_of(modalities, exact_up_to)
    values = {frozenset(kept): accuracy(subset_name(kept)) for kept in subsets}
    values[frozenset(modalities)] = accuracy("test logits")
    if len(modalities) > exact_up_to:
        found.shares = sampled_shapley(values, modalities)
        found.notes.append(
            f"Shapley shares are sampled: {len(modalities)} modalities have "
            f"{2 ** len(modalities)} subsets, of which {len(values)} were measured, and none for "
            "interactions"
        )
        return
    found.shares = {m: estimate(x) for m, x in shapley(values, modalities).items()}
    pairs = shapley_interactions(values, modalities)
    found.interactions = {f"{a} & {b}": estimate(x) for (a, b), x in pairs.items()}


def _evidence(
    found: Measures,
    of: Mapping[str, Answers],
    runs: Sequence[Run],
    target: Mapping[str, Array],
    most: int,
    modalities: Sequence[str],
) -> Evidence:
    test = target["test"]
    over: dict[str, Estimate | None] = dict.fromkeys(modalities)
    drop, probe = dict(over), dict(over)
    joint = [run for run in runs if run.job.kind == JOINT]
    for m in modalities:
        if _alone(m) in of:
            hits = np.stack(_hits(of[_alone(m)].test, test)).astype(float)
            over[m] = estimate(hits - (test == most))
        if joint:
            drop[m] = estimate(
                np.stack([_lost(run.arrays, f"permuted {m}", test) for run in joint])
            )
            _note_order(found, joint[0], m, test)
        probe[m] = _probe_difference(found, runs, m, test)
    scores = {n: np.mean(_hits(a.validation, target["validation"])) for n, a in of.items()}
    best = max((m for m in modalities if over[m]), key=lambda m: scores[_alone(m)], default="")
    gain = table = None
    if "fused" in of and all(_alone(m) in of for m in modalities):
        gain = _difference(of["fused"].test, of[_alone(best)].test, test)
    remedies = [name for name in (ENSEMBLE, LOSSES) if name in of]
    if "fused" in of and remedies:
        found.remedy = max(remedies, key=scores.__getitem__)
        table = _difference(of[found.remedy].test, of["fused"].test, test)
    return Evidence(over, drop, probe, gain, best, table)


def _lost(arrays: Mapping[str, Array], without: str, target: Array) -> Array:
    whole = arrays["test logits"].argmax(axis=1) == target
    lost: Array = whole.astype(float) - (arrays[without].argmax(axis=1) == target)
    return lost


def _note_order(found: Measures, run: Run, modality: str, target: Array) -> None:
    by_chance = float(((np.bincount(target) / len(target)) ** 2).sum())
    if float(run.arrays[f"same class {modality}"].mean()) > by_chance + _SORTED:
        note = (
            "the test loader gives samples of one class together, so that what a permuted modality "
            "costs is underestimated: shuffle the test set once"
        )
        if note not in found.notes:
            found.notes.append(note)


def _probe_difference(
    found: Measures, runs: Sequence[Run], modality: str, target: Array
) -> Estimate | None:
    hits: dict[str, dict[int, Array]] = {}
    for kind, wanted, word in ((JOINT, "", "joint"), (ALONE, modality, "alone")):
        hits[kind] = {
            run.job.seed: run.arrays[f"probe {modality}"] == target
            for run in runs
            if run.job.kind == kind and run.job.modality == wanted
        }
        if hits[kind]:
            found.probes[f"{modality} {word}"] = estimate(np.stack([*hits[kind].values()]))
    seeds = sorted({*hits[JOINT]} & {*hits[ALONE]})
    if not seeds:
        return None
    return estimate(
        np.stack([hits[JOINT][seed].astype(float) - hits[ALONE][seed] for seed in seeds])
    )
