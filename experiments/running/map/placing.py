"""Where a model lies on the map: by its diagnosis or its monitor, beside the nearest cells."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Position = Mapping[str, float]
"""Coordinate -> value; names of modalities and their number have no say."""

DIAGNOSIS, MONITOR = "diagnosis", "monitor"
COORDINATES = {
    DIAGNOSIS: ("fused − best alone", "left on the table", "gap to alone", "best", "worst"),
    MONITOR: ("margin", "share there", "agreement there", "lowest share"),
}
NEAREST = 3
"""So many cells say what helps."""


class NoPlaceError(ValueError):
    """Something that a position needs was not measured."""


@dataclass(frozen=True)
class Neighbour:
    """A cell near a position.

    Attributes:
        cell: Its name.
        distance: In standard deviations of the coordinates over the map.
        gains: Remedy -> mean difference to joint training there, in points.
    """

    cell: str
    distance: float
    gains: Mapping[str, float]


@dataclass(frozen=True)
class Placed:
    """A place on the map.

    Attributes:
        neighbours: The nearest cells, the nearest first.
        is_off: Whether it is farther from the nearest cell than 19 of 20 cells from theirs.
    """

    neighbours: Sequence[Neighbour]
    is_off: bool

    @property
    def gains(self) -> dict[str, float]:
        """Remedy -> mean gain over the nearest cells, in points, the highest first."""
        first = self.neighbours[0].gains
        found = {name: float(np.mean([n.gains[name] for n in self.neighbours])) for name in first}
        return dict(sorted(found.items(), key=lambda item: -item[1]))


def by_diagnosis(evidence: Mapping[str, Any], chance: float) -> dict[str, float]:
    """The position that a diagnosis leads to.

    Args:
        evidence: ``Diagnosis.evidence``, plain data: value, low and high of each number.
        chance: Share of the largest class.

    Raises:
        NoPlaceError: A number was not measured.
    """
    alone = [_value(x, "accuracy alone") / (1 - chance) for x in evidence["over_chance"].values()]
    return {
        "fused − best alone": _value(evidence["gain"], "fused − best alone"),
        "left on the table": _value(evidence["table"], "left on the table"),
        "gap to alone": min(_value(x, "probe difference") for x in evidence["probe"].values()),
        "best": max(alone),
        "worst": min(alone),
    }


def by_monitor(seen: Mapping[str, Mapping[str, float | None]]) -> dict[str, float]:
    """The position that the last measured epoch of a monitor leads to.

    Args:
        seen: ``Suspicions.seen``: by modality ``margin``, ``share`` and ``agreement``, and others.

    Raises:
        NoPlaceError: A number was not measured.
    """
    margins = {m: _number(of["margin"], "probe") for m, of in seen.items()}
    ahead = max(margins, key=margins.__getitem__)
    return {
        "margin": margins[ahead],
        "share there": _number(seen[ahead]["share"], "share"),
        "agreement there": _number(seen[ahead]["agreement"], "agreement"),
        "lowest share": min(_number(of["share"], "share") for of in seen.values()),
    }


def place(
    position: Position, cells: Mapping[str, Mapping[str, Any]], kind: str = DIAGNOSIS
) -> Placed:
    """The cells nearest to a position.

    Args:
        position: By :func:`by_diagnosis` or :func:`by_monitor`.
        cells: Name -> ``"diagnosis"``, ``"monitor"`` and ``"gains"``.
        kind: Which of the two positions it is.
    """
    names = [*cells]
    places = np.array([[cells[n][kind][c] for c in COORDINATES[kind]] for n in names])
    scale = places.std(axis=0)
    scale[scale == 0] = 1.0
    here = np.array([position[c] for c in COORDINATES[kind]])
    distances = np.linalg.norm((places - here) / scale, axis=1)
    between = np.linalg.norm((places[:, None] - places[None]) / scale, axis=2)
    np.fill_diagonal(between, np.inf)
    usual = float(np.quantile(between.min(axis=1), 0.95)) if len(names) > 2 else np.inf
    order = np.argsort(distances, kind="stable")[:NEAREST]
    nearest = [Neighbour(names[i], float(distances[i]), cells[names[i]]["gains"]) for i in order]
    return Placed(nearest, bool(nearest[0].distance > usual))


def _value(estimate: Sequence[float] | None, what: str) -> float:
    return _number(None if estimate is None else estimate[0], what)


def _number(value: float | None, what: str) -> float:
    if value is None:
        raise NoPlaceError(f"the map cannot place a model whose {what} was not measured")
    return float(value)
