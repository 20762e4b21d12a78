"""From finished runs to the numbers that are kept of the claims: a value per row and seed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from running.baseline_rows import MODALITIES, ensembles
from running.claims.rows import ROWS, VIEWS
from running.study import Results

if TYPE_CHECKING:
    from inforeg_lightning.report import Run

DRAWN = (
    *("joint", "inforeg", "outside", "always", "joint_star", "inforeg_star", "auto_balance"),
    *("audio", "image", "ensemble", "ensemble_fitted"),
    *("joint_views", "inforeg_views", "joint_star_views", "dgl_views"),
    *(*(f"{view}_views" for view in VIEWS), "ensemble_views", "ensemble_fitted_views"),
)
_OWN = "gap"
"""What only the histories of methods hold, beside those of the monitor and of the cosines."""


def runs_by_row(seeds: Sequence[int], results: Results) -> "dict[str, list[Run]]":
    """Row -> its runs, seed by seed; the ensembles of modalities alone are rows too."""
    found: dict[str, list[Run]] = {}
    for name, row in ROWS.items():
        runs = [results[row.job(seed)] for seed in seeds if row.job(seed) in results]
        if runs:
            found[name] = [_named(run, name, row.title) for run in runs]
    for after, members in (("", MODALITIES), ("_views", tuple(f"{v}_views" for v in VIEWS))):
        jobs = [ROWS[member].job(0) for member in members]
        for run in ensembles(seeds, results, jobs):
            name = f"{run.result['method']}{after}"
            found.setdefault(name, []).append(_named(run, name, str(run.result["title"])))
    return found


def kept(seeds: Sequence[int], results: Results) -> dict[str, Any]:
    """What ``results/claims.json`` keeps: the setting of every row, and its numbers by seed."""
    rows = {}
    for name, runs in runs_by_row(seeds, results).items():
        rows[name] = {
            "title": runs[0].result["title"],
            "setting": list(ROWS[name].overrides) if name in ROWS else [],
            "seeds": [run.seed for run in runs],
            "test": _values([_tested(run) for run in runs]),
            "measured": _values([measured(run.history) for run in runs]),
        }
    return {
        "protocol": "experiments/evidence/claims.md",
        "machine": "2-core x86-64 CPU, one thread per run",
        "rows": rows,
    }


def measured(history: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Of the history of a run, one number per quantity and modality.

    ``trace``: the sum over the epochs, of the method's own entries; ``held``: the epochs in which
    the encoder was held back; ``share``, ``agreement`` and ``cosine``: means over the epochs, and
    of ``cosine`` each epoch's too, as ``cosine_<modality>_<epoch>``.
    """
    found: dict[str, float] = {}
    own = [entry for entry in history if _OWN in entry]
    for modality in own[0]["trace"] if own else ():
        found[f"trace_{modality}"] = float(sum(entry["trace"][modality] for entry in own))
        found[f"held_{modality}"] = float(sum((e["alpha"][modality] or 0) > 0 for e in own))
    for quantity in ("share", "agreement", "cosine"):
        of = [entry for entry in history if quantity in entry]
        for modality in of[0][quantity] if of else ():
            values = [e[quantity][modality] for e in of if e[quantity][modality] is not None]
            if values:
                found[f"{quantity}_{modality}"] = float(np.mean(values))
            if quantity == "cosine":
                found |= {f"cosine_{modality}_{t}": float(v) for t, v in enumerate(values)}
    return found


def _tested(run: "Run") -> dict[str, float]:
    quantities = [
        "accuracy",
        *(f"{of}_{m}" for of in ("accuracy", "probe") for m in run.modalities),
    ]
    found = {quantity: run.value("last", quantity) for quantity in quantities}
    return {quantity: value for quantity, value in found.items() if value is not None}


def _values(runs: Sequence[Mapping[str, float]]) -> dict[str, list[float]]:
    """Quantity -> a value per run, of the quantities that all of them have."""
    return {
        quantity: [float(f"{run[quantity]:.5g}") for run in runs]
        for quantity in (runs[0] if runs else ())
        if all(quantity in run for run in runs)
    }


def _named(run: "Run", name: str, title: str, having: str | None = None) -> "Run":
    named = {"method": name, "variant": "", "title": title}
    history = [entry for entry in run.history if having is None or having in entry]
    return replace(run, result={**run.result, **named}, history=history)


def drawable(runs: "Mapping[str, Sequence[Run]]") -> "list[Run]":
    """The runs of a report's tables and figures: of the main rows, on two and on three modalities.

    Their history is that of the method alone: what others measured is not drawn with it. All other
    rows stand in the appendix.
    """
    return [
        _named(run, name.removesuffix("_views"), str(run.result["title"]), _OWN)
        for name in DRAWN
        for run in runs.get(name, ())
    ]
