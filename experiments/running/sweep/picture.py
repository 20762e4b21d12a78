"""What a sweep found, as a table and a picture: a heat map with intervals, or curves."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from inforeg_lightning.report import mean_interval, style
from inforeg_lightning.report.sweeps import SYMBOLS
from running.sweep.space import Searched

Points = Sequence[Mapping[str, Any]]
_GIVEN_UP = "given up"


def best_of(points: Points) -> Mapping[str, Any] | None:
    """The point of the highest mean validation accuracy; the test set has no say."""
    whole = [of for of in points if of["state"] == "complete"]
    return max(whole, key=lambda of: float(np.mean(of["validation"])), default=None)


def table(points: Points, searched: Sequence[Searched]) -> str:
    """A line per point, the best on validation first."""
    head = [*(of.name for of in searched), "validation", "test", ""]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    order = sorted(points, key=lambda of: -float(np.mean(of.get("validation", [-1]))))
    for of in sorted(order, key=lambda of: of["state"] != "complete"):
        values = [_shown(of["params"][s.key]) for s in searched]
        is_whole = of["state"] == "complete"
        cells = [_accuracy(of[k]) if is_whole else "–" for k in ("validation", "test")]
        why = of.get("given up", of.get("failed", ""))
        lines.append(f"| {' | '.join([*values, *cells, why])} |")
    return "\n".join(lines)


def draw(points: Points, searched: Sequence[Searched]) -> Figure:
    """Validation accuracy over what was searched.

    Two choices make a heat map, each square with mean and 95 % t interval over the runs; of more
    than two, each pair does, over all values of the others. One alone, and an interval, makes
    curves of dots.
    """
    choices = [of for of in searched if of.choices]
    pairs = [*combinations(choices, 2)]
    alone = [of for of in searched if not (of.choices and pairs)]
    with style.style():
        figure, axes = style.panels(1, len(pairs) + len(alone), width=4.4, height=3.4, share=False)
        for panel, (x, y) in zip(axes[0], pairs, strict=False):
            _heat_map(panel, points, x, y)
        for panel, of in zip(axes[0][len(pairs) :], alone, strict=True):
            _dots(panel, points, of)
        figure.suptitle("validation accuracy, %, last epoch", fontsize=10)
    return figure


def _heat_map(panel: Axes, points: Points, x: Searched, y: Searched) -> None:
    cells = np.full((len(y.choices), len(x.choices)), np.nan)
    for (row, column), _ in np.ndenumerate(cells):
        here = [
            of
            for of in points
            if (of["params"][x.key], of["params"][y.key]) == (x.choices[column], y.choices[row])
        ]
        values = [100 * v for of in here if of["state"] == "complete" for v in of["validation"]]
        if values:
            cells[row, column] = np.mean(values)
            text = _interval(values)
        else:
            text = _GIVEN_UP if here else ""
        panel.text(column, row, text, ha="center", va="center", fontsize=8)
    # Pale, so that the numbers can be read on every colour.
    panel.imshow(cells, cmap="Blues", aspect="auto", alpha=0.55)
    panel.set_xticks(range(len(x.choices)), x.choices)
    panel.set_yticks(range(len(y.choices)), y.choices)
    panel.set_xlabel(SYMBOLS.get(x.name, x.name))
    panel.set_ylabel(SYMBOLS.get(y.name, y.name))
    panel.grid(visible=False)


def _dots(panel: Axes, points: Points, of: Searched) -> None:
    for point in points:
        if point["state"] != "complete":
            continue
        values = [100 * v for v in point["validation"]]
        x = point["params"][of.key]
        at = of.choices.index(x) if of.choices else x
        half = mean_interval(values).half_width or 0.0
        panel.errorbar(
            at, np.mean(values), half, fmt="o", color=style.METHOD_COLOURS[0], capsize=3, ms=4
        )
    if of.choices:
        panel.set_xticks(range(len(of.choices)), of.choices)
    elif of.is_log:
        panel.set_xscale("log")
        panel.xaxis.set_major_formatter("{x:g}")  # the default writes mathematics, which is off
    panel.set_xlabel(SYMBOLS.get(of.name, of.name))


def _interval(values: Sequence[float]) -> str:
    found = mean_interval(values)
    return f"{found.mean:.1f}" + ("" if found.half_width is None else f"\n± {found.half_width:.1f}")


def _accuracy(values: Sequence[float]) -> str:
    return _interval([100 * value for value in values]).replace("\n", " ")


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
