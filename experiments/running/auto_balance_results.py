"""``experiments/results/auto_balance.json``: what is kept of AutoBalance's confirmation."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from inforeg_lightning.report import Run

RESULTS = Path(__file__).resolve().parents[1] / "results" / "auto_balance.json"
SETS = ("av_digits", "av_mnist_speakers", "av_mnist_speakers_swapped", "views")
ROWS = ("none", "auto_balance", "unimodal_losses", "dgl")

Kept = dict[str, dict[str, Any]]
"""Set -> ``"ROW, seed SEED"`` -> test accuracies."""


def kept_of(runs: "Iterable[Run]") -> Kept:
    """Per set, row and seed all test accuracies of the last epoch, as fractions.

    Args:
        runs: Finished runs; those of other experiments, rows or settings are left out.
    """
    found = {(r.experiment, _row(r), r.seed): r for r in runs if _is_of_a_set(r.group[1])}
    kept: Kept = {}
    for part in SETS:
        for row in ROWS:
            for seed in sorted(seed for *of, seed in found if of == [part, row]):
                tested = _tested(found[part, row, seed])
                kept.setdefault(part, {})[f"{row}, seed {seed}"] = tested
    return kept


def joint_of_study() -> Kept:
    """Joint training of AV-Digits over ten seeds, as the study of InfoReg has it already."""
    study = json.loads((RESULTS.parent / "av_digits_study.json").read_text(encoding="utf-8"))
    joint, *_ = study["experiments"]["av_digits"]["methods"]
    kept: dict[str, dict[str, float]] = {}
    for quantity, found in joint["last"].items():
        for seed, value in found["by_seed"].items():
            kept.setdefault(f"none, seed {seed}", {})[quantity] = round(value, 5)
    return {"av_digits": kept}


def merged(first: Kept, second: Kept) -> Kept:
    """Both; where both have a line, the second's."""
    parts = sorted({*first, *second}, key=SETS.index)
    return {part: {**first.get(part, {}), **second.get(part, {})} for part in parts}


def picture(run: "Run") -> "Figure":
    """Share, weight and factor of each modality by epoch, of one run."""
    from matplotlib.figure import Figure

    titles = {
        "share": "signal share: what reaches it",
        "weight": "weight of its own loss",
        "factor": "factor of the joint gradient",
    }
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots(1, len(titles), sharex=True, sharey=True)
    for axis, (quantity, title) in zip(axes, titles.items(), strict=True):
        for modality in run.modalities:
            values = [entry[quantity][modality] for entry in run.history]
            axis.plot([entry["epoch"] for entry in run.history], values, label=modality)
        axis.set(title=title, xlabel="epoch", ylim=(-0.03, 1.03))
        axis.title.set_size("medium")
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    return figure


def _row(run: "Run") -> str:
    method = run.group[0]
    return "dgl" if method == "dgl,alpha=4.0" else method  # that with its default


def _is_of_a_set(variant: str) -> bool:
    """Whether overrides only say where the data are, or make another set with a name of its own."""
    keys = set(re.findall(r"(?:^|,)([\w.+]+)=", variant)) - {"data.root"}
    return not keys or ("name" in keys and all(k == "name" or k.startswith("data.") for k in keys))


def _tested(run: "Run") -> dict[str, float]:
    heads = (f"{kind}_{m}" for kind in ("accuracy", "probe") for m in run.modalities)
    found = {quantity: run.value("last", quantity) for quantity in ("accuracy", *heads)}
    return {quantity: round(value, 5) for quantity, value in found.items() if value is not None}
