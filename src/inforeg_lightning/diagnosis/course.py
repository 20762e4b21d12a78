"""Since when: what joint runs left of each epoch, and from which on a modality goes without."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inforeg_lightning.diagnosis.setup import Run

FALLEN = 0.2
"""To this part of its peak a trace has fallen, and of a full signal a signal share, by then."""

QUANTITIES = ("trace", "share", "agreement")
"""Of each epoch: the trace of its gradients, the part of its learning signal that reaches it, and
how much its unimodal gradients agree; :class:`~inforeg_lightning.diagnosis.ModalityMonitor`
explains the latter two."""

Course = Mapping[str, Mapping[str, Sequence[float | None]]]
"""Quantity -> modality -> per epoch, mean over seeds; ``None`` where it was not measured."""


def course_of(joint: Sequence[Run], modalities: Sequence[str]) -> dict[str, Any]:
    """What the joint runs saw of each epoch; empty of a quantity that no run has."""
    found: dict[str, Any] = {}
    for quantity in QUANTITIES:
        name = "history" if quantity == "trace" else "monitor"
        histories = [run.info[name] for run in joint if run.info.get(name)]
        if histories:
            epochs = min(map(len, histories))
            found[quantity] = {
                m: [_mean([h[t][quantity].get(m) for h in histories]) for t in range(epochs)]
                for m in modalities
            }
    return found


def trace_fell(course: Course, modality: str) -> int | None:
    """The epoch, from 1, by which its trace had first fallen to a fifth of its peak."""
    trace = [x or 0.0 for x in course.get("trace", {}).get(modality, ())]
    peak = int(np.argmax(trace)) if trace else 0
    if not trace or trace[peak] <= 0:
        return None
    fallen = (t for t in range(peak, len(trace)) if trace[t] <= FALLEN * trace[peak])
    return next((t + 1 for t in fallen), None)


def share_fell(course: Course, modality: str) -> int | None:
    """The epoch, from 1, since which at most a fifth of its learning signal has reached it."""
    since = None
    for epoch, share in enumerate(course.get("share", {}).get(modality, ()), 1):
        if share is not None and share <= FALLEN:
            since = since or epoch
        elif share is not None:
            since = None
    return since


def agreement_at(course: Course, modality: str, epoch: int | None) -> float | None:
    """How much its gradients agreed in an epoch, which says whether there was something left."""
    found = course.get("agreement", {}).get(modality, ())
    return found[epoch - 1] if epoch is not None and epoch <= len(found) else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 6) if known else None
