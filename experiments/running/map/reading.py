"""What the map says of a model, in words, from its diagnosis or its monitor."""

import textwrap
from collections.abc import Callable
from pathlib import Path

from inforeg_lightning.diagnosis import Diagnosis
from inforeg_lightning.diagnosis.suspicions import Suspicions
from running.kept import KeptError, read
from running.map.judging import with_gains
from running.map.placing import (
    DIAGNOSIS,
    MONITOR,
    NoPlaceError,
    Placed,
    Position,
    by_diagnosis,
    by_monitor,
    place,
)
from running.map.remedies import REMEDIES

RESULTS = Path(__file__).resolve().parents[2] / "results" / "map.json"
_WIDTH = 96
_NAMED = 3


def of_diagnosis(diagnosis: Diagnosis, results: Path = RESULTS) -> str:
    """Where a diagnosed model lies on the map, and what helped in the cells near it.

    Args:
        diagnosis: The diagnosis.
        results: The file of the map.

    Returns:
        A paragraph; why there is none, where the map or a number is missing.
    """

    def position() -> Position:
        chance = diagnosis.value("accuracy", "largest class")
        if chance is None:
            raise NoPlaceError("the map cannot place a model without a sound run")
        return by_diagnosis(diagnosis.evidence, chance.value)

    return _said(position, DIAGNOSIS, results)


def of_monitor(suspicions: Suspicions, results: Path = RESULTS) -> str:
    """The same from the suspicions of one training, ``monitor.verdict``."""
    return _said(lambda: by_monitor(suspicions.seen), MONITOR, results)


def sentence(placed: Placed) -> str:
    """The nearest cells, what helped there most, and what did harm."""
    cells = "; ".join(of.cell for of in placed.neighbours)
    helped = [(name, gain) for name, gain in placed.gains.items() if gain >= 1][:_NAMED]
    harmed = [(name, gain) for name, gain in placed.gains.items() if gain <= -1]
    said = f"On the map of small worlds (docs/map.md) it lies nearest to: {cells}."
    if placed.is_off:
        said += (
            " It lies outside the map, farther from its nearest cell than 19 of 20 cells from "
            "theirs, so that little follows."
        )
    best = _listed(helped) or "nothing by a point; leave it as it is"
    said += f" What helped there, in points over joint training: {best}."
    return said + (f" What did harm there: {_listed(harmed)}." if harmed else "")


def _said(position: Callable[[], Position], kind: str, results: Path) -> str:
    try:
        content = read(results)
    except KeptError as error:
        return f"Not on the map: {error}."
    if not content.get("cells"):
        return f"There is no map at {results}; python experiments/study.py map makes it."
    try:
        placed = place(position(), with_gains(content["cells"]), kind)
    except NoPlaceError as error:
        return f"Not on the map: {error}."
    return textwrap.fill(sentence(placed), _WIDTH)


def _listed(of: list[tuple[str, float]]) -> str:
    return ", ".join(f"{REMEDIES[name].title} {gain:+.1f}".replace("-", "−") for name, gain in of)
