"""Entries of a history: what they hold and how they are logged."""

from collections.abc import Mapping
from typing import Any

from inforeg_lightning.core.fisher import relative_change

Entry = dict[str, Any]
COUNTS = ("epoch", "step", "steps", "skipped")


def make_entry(
    before: Entry | None,
    counts: Mapping[str, int],
    values: Mapping[str, Mapping[str, float | None]],
    in_window: Mapping[str, bool],
) -> Entry:
    """The entry of a period that ends.

    Args:
        before: The entry of the period before it, ``None`` if it is the first.
        counts: What ``COUNTS`` names.
        values: Quantity -> one number per modality, ``None`` where no step counts; ``trace`` is one
            of them.
        in_window: Modality -> whether it was in its window.

    Returns:
        The entry. A trace that no step counts for is that of the period before, or 0.0.
    """
    previous = dict.fromkeys(in_window, 0.0) if before is None else before["trace"]
    trace = {m: previous[m] if v is None else v for m, v in values["trace"].items()}
    entry = {"period": 0 if before is None else before["period"] + 1}
    entry |= {name: counts[name] for name in COUNTS}
    entry |= {quantity: dict(of) for quantity, of in values.items()} | {"trace": trace}
    entry["change"] = {
        m: None if before is None else relative_change(trace[m], previous[m]) for m in trace
    }
    entry["in_window"] = dict(in_window)
    return entry


def flatten(entry: Entry, prefix: str) -> dict[str, float]:
    """An entry as metrics, ``<prefix>/<quantity>/<modality>`` -> number."""
    return {
        f"{prefix}/{quantity}/{modality}": float(value)
        for quantity, of in entry.items()
        if isinstance(of, dict)
        for modality, value in of.items()
        if value is not None
    }
