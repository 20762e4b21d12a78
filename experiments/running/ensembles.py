"""Ensembles of finished runs, from the log-probabilities that each run keeps; nothing is trained.

The plain ensemble sums the log-probabilities of its members. The fitted one multiplies each by a
factor of its own first, those of the least cross-entropy on the validation set. A member's weight
and its temperature are that one factor: only their quotient changes the ensemble's probabilities.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from inforeg_lightning.report import FolderError, Run
from inforeg_lightning.report.folder import read_predictions
from inforeg_lightning.report.schema import CHECKPOINTS

Array = NDArray[Any]


def ensemble(members: Sequence[Run], fitted: bool) -> Run:
    """A run that stands for the ensemble of others, in memory only.

    Args:
        members: Runs of one experiment and seed, each of one modality alone.
        fitted: Fit the factors on the validation set instead of leaving them at 1.

    Returns:
        Its ``accuracy_<modality>`` and probes are those of the member of that modality.

    Raises:
        FolderError: A member has no predictions, or they are of other samples than another's.
    """
    predictions = [read_predictions(run.folder) for run in members]
    labels = predictions[0].label
    for run, other in zip(members[1:], predictions[1:], strict=True):
        if any(not np.array_equal(labels[split], other.label[split]) for split in labels):
            raise FolderError(f"{run.folder}: it predicts other samples than {members[0].folder}")
    parts: dict[str, Any] = {}
    for checkpoint in CHECKPOINTS:
        of = {
            s: np.stack([p.log_probabilities[checkpoint, s] for p in predictions]) for s in labels
        }
        factors = fit(of["val"], labels["val"]) if fitted else np.ones(len(members))
        parts[checkpoint] = {s: measured(factors, of[s], labels[s]) for s in labels}
        parts[checkpoint]["factors"] = dict(
            zip((run.modalities[0] for run in members), factors.tolist(), strict=True)
        )
        _add_members(parts[checkpoint], [run.result[checkpoint] for run in members], members)
    name, title = ("ensemble_fitted", "Ensemble, fitted") if fitted else ("ensemble", "Ensemble")
    # Members with the same overrides are compared with what else has them.
    variants = {str(run.result.get("variant", "")) for run in members}
    kept = ("experiment", "seed", "versions", "machine")
    result = {key: members[0].result[key] for key in kept if key in members[0].result} | {
        "method": name,
        "variant": variants.pop() if len(variants) == 1 else "",
        "title": title,
        "modalities": [modality for run in members for modality in run.modalities],
        "epochs": max(run.result["epochs"] for run in members),
        "config": _config(members),
    }
    return Run(Path(name), result | parts)


def fit(log_probabilities: Array, label: Array) -> Array:
    """The factors ``a_m ≥ 0`` of the least cross-entropy of ``softmax(Σ_m a_m log p_m)``.

    Args:
        log_probabilities: Of each member, ``(M, N, C)``.
        label: True classes, ``(N,)``.
    """
    rows = np.arange(len(label))

    def cross_entropy(factors: Array) -> tuple[float, Array]:
        log_p = _fused(factors, log_probabilities)
        expected = (np.exp(log_p) * log_probabilities).sum(axis=2).mean(axis=1)
        return (
            float(-log_p[rows, label].mean()),
            expected - log_probabilities[:, rows, label].mean(axis=1),
        )

    size = len(log_probabilities)
    # Convex in the factors, so that the start does not matter.
    found = minimize(
        cross_entropy, np.ones(size), jac=True, method="L-BFGS-B", bounds=[(0, None)] * size
    )
    return np.asarray(found.x)


def measured(factors: Array, log_probabilities: Array, label: Array) -> dict[str, float]:
    """Accuracy and cross-entropy of an ensemble with these factors."""
    log_p = _fused(factors, log_probabilities)
    return {
        "accuracy": float((log_p.argmax(axis=1) == label).mean()),
        "loss": float(-log_p[np.arange(len(label)), label].mean()),
    }


def _fused(factors: Array, log_probabilities: Array) -> Array:
    summed = np.einsum("m,mnc->nc", factors, log_probabilities.astype(np.float64))
    return np.asarray(log_softmax(summed, axis=1))


def _config(members: Sequence[Run]) -> dict[str, Any]:
    """That of the members, with the encoders of all, as joint training has them."""
    first = dict(members[0].result.get("config", {}))
    models = [run.result.get("config", {}).get("model", {}) for run in members]
    encoders = {name: node for of in models for name, node in of.get("encoders", {}).items()}
    return first | ({"model": models[0] | {"encoders": encoders}} if encoders else {})


def _add_members(
    part: dict[str, Any], of: Sequence[Mapping[str, Any]], members: Sequence[Run]
) -> None:
    part["probe"] = {}
    for run, theirs in zip(members, of, strict=True):
        part["probe"] |= theirs["probe"]
        for split in ("val", "test"):
            part[split][f"accuracy_{run.modalities[0]}"] = theirs[split]["accuracy"]
