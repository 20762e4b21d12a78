"""Entries of a callback's history: what they hold, how they are logged and how they are saved."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

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
        values: Quantity -> one number a modality, ``None`` where no step counts; ``trace`` is one
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


def pack(
    history: Sequence[Entry], modalities: Sequence[str], quantities: Sequence[str]
) -> dict[str, torch.Tensor]:
    """A history as two tensors: pickled as dicts it is twice as large, in every checkpoint."""
    numbers = [[[e[q][m] for m in modalities] for q in quantities] for e in history]
    counts = [
        [*(e[name] for name in COUNTS), *map(e["in_window"].get, modalities)] for e in history
    ]
    missing = float("nan")
    return {
        "numbers": torch.tensor(
            [[[missing if x is None else x for x in row] for row in rows] for rows in numbers],
            dtype=torch.float64,
        ),
        "counts": torch.tensor(counts, dtype=torch.int64).to(torch.int32),
    }


def unpack(
    packed: Mapping[str, torch.Tensor], modalities: Sequence[str], quantities: Sequence[str]
) -> list[Entry]:
    """What :func:`pack` was given, to the bit."""
    history: list[Entry] = []
    for numbers, counts in zip(packed["numbers"].tolist(), packed["counts"].tolist(), strict=True):
        values = {
            quantity: {m: None if x != x else x for m, x in zip(modalities, row, strict=True)}
            for quantity, row in zip(quantities, numbers, strict=True)
        }
        split = len(COUNTS)
        history.append(
            make_entry(
                history[-1] if history else None,
                dict(zip(COUNTS, counts[:split], strict=True)),
                values,
                {m: bool(x) for m, x in zip(modalities, counts[split:], strict=True)},
            )
        )
    return history
