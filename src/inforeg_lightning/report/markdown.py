"""The tables in Markdown, and how a cell reads anywhere."""

from collections.abc import Sequence

from inforeg_lightning.report.runs import CHECKPOINTS
from inforeg_lightning.report.statistics import Interval
from inforeg_lightning.report.summary import Cell, Summary

CHECKPOINT_TITLES = {"last": "last epoch", "best": "best epoch on validation"}


def heading(quantity: str) -> str:
    """A column's name for readers."""
    if quantity in ("accuracy", "imbalance"):
        return {"accuracy": "fused"}.get(quantity, quantity)
    kind, modality = quantity.split("_", 1)
    return f"{modality}, {'head' if kind == 'accuracy' else 'probe'}"


def percent(cell: Cell | None) -> tuple[str, str]:
    """A cell as two texts: the mean in percent, the difference in points (empty without one)."""
    if cell is None:
        return "–", ""
    value = f"{100 * cell.value.mean:.1f}{_plus_minus(cell.value)}"
    if cell.difference is None:
        return value, ""
    return value, f"{100 * cell.difference.mean:+.1f}{_plus_minus(cell.difference)}"


def _plus_minus(interval: Interval) -> str:
    return "" if interval.half_width is None else f" ± {100 * interval.half_width:.1f}"


def markdown(summary: Summary) -> str:
    """The tables of an experiment in Markdown, one a checkpoint, and the notes."""
    lines = [f"## {summary.experiment}", ""]
    for checkpoint in CHECKPOINTS:
        heads = ["method", *map(heading, summary.quantities), "seeds"]
        lines += [f"Test accuracy in %, {CHECKPOINT_TITLES[checkpoint]}:", ""]
        lines += [_row(heads), _row(["---", *["---:"] * (len(heads) - 1)])]
        for index, group in enumerate(summary.groups):
            texts = []
            for quantity in summary.quantities:
                value, difference = percent(summary.cells.get((index, checkpoint, quantity)))
                texts.append(f"{value} ({difference})" if difference else value)
            lines.append(_row([group.title, *texts, str(len(group.runs))]))
        lines.append("")
    lines += [
        "Mean ± 95 % t interval over seeds; in brackets the difference to the baseline in points, "
        "paired by seed. Imbalance: by how many points the best head is ahead of the worst.",
        "",
    ]
    return "\n".join([*lines, *(f"- {note}" for note in summary.notes)]).rstrip() + "\n"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
