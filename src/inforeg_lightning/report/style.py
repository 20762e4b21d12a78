"""How every figure looks: colours, frames, and the band over seeds."""

import re
import textwrap
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

FOREGROUND = "#1c2321"
"""Text and axes; the page replaces it by the reader's own text colour, light or dark."""

BASELINE_COLOUR = "#7d7d7d"
# After Okabe and Ito: told apart by colour-blind readers, and legible on white and on black.
METHOD_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#c56b9b")
MODALITY_COLOURS = ("#12908a", "#b2479b", "#a8820f", "#5c73d6")
MODALITY_LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), "-.")

WINDOW_COLOUR = "#c79a1b"
"""Of no method and no modality."""

Series = Mapping[int, float]
"""Epoch or period -> value, of one run."""


def style() -> AbstractContextManager[None]:
    """Matplotlib's settings for the duration of a ``with`` block."""
    return mpl.rc_context(
        {
            "font.size": 10,
            "axes.titlesize": 10.5,
            "axes.titleweight": "bold",
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.axisbelow": True,
            "grid.color": "#9aa0a0",
            "grid.alpha": 0.25,
            "axes.edgecolor": FOREGROUND,
            "axes.labelcolor": FOREGROUND,
            "text.color": FOREGROUND,
            "xtick.color": FOREGROUND,
            "ytick.color": FOREGROUND,
            "text.parse_math": False,  # a "$" in a title is a dollar
            "legend.frameon": False,
            "lines.linewidth": 1.8,
            # The same input gives the same file, so that a report can be compared.
            "svg.hashsalt": "inforeg-lightning",
        }
    )


def panels(
    rows: int, columns: int, width: float = 3.3, height: float = 2.5, share: bool = True
) -> tuple[Figure, Any]:
    """A figure with a grid of axes.

    Args:
        rows: Number of rows.
        columns: Number of columns.
        width: Of one panel, in inches.
        height: Of one panel, in inches.
        share: Whether the panels of a row have the same limits.

    Returns:
        The figure and its axes, always an array of shape ``(rows, columns)``.
    """
    figure = Figure(figsize=(max(width * columns, 5.6), height * rows + 0.9), layout="constrained")
    return figure, figure.subplots(
        rows, columns, squeeze=False, sharex=True, sharey="row" if share else False
    )


def legend_below(figure: Figure, handles: Sequence[Any], labels: Sequence[str]) -> None:
    """Put the legend under the panels, where it hides no data."""
    # About twelve characters an inch, and the handle.
    entry = max(map(len, labels)) / 12 + 0.7
    columns = max(1, min(len(labels), int(figure.get_figwidth() / entry)))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def band(
    axes: Axes, runs: Sequence[Series], colour: str, line: Any = "-", scale: float = 1.0
) -> Any:
    """Draw the mean over runs, and the range from the least to the greatest run.

    Args:
        axes: Where.
        runs: One series per run; they need not cover the same epochs.
        colour: Of line and band.
        line: Line style.
        scale: Factor on the values, 100 for percent.

    Returns:
        The line, for a legend.
    """
    at = sorted(set().union(*runs))
    columns = [[run[x] * scale for run in runs if x in run] for x in at]
    mean = [float(np.mean(values)) for values in columns]
    if len(runs) > 1:
        low, high = [min(values) for values in columns], [max(values) for values in columns]
        axes.fill_between(at, low, high, color=colour, alpha=0.22, linewidth=0)
    return axes.plot(at, mean, color=colour, linestyle=line)[0]


def label_time(axes: Axes, unit: str) -> None:
    """Label the horizontal axis, with whole numbers only."""
    axes.set_xlabel(unit)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))


def shade(axes: Axes, shares: Series) -> None:
    """Shade each period by the share of runs whose window was open in it."""
    for x, share in shares.items():
        if share > 0:
            axes.axvspan(
                x - 0.5, x + 0.5, color=WINDOW_COLOUR, alpha=0.3 * share, linewidth=0, zorder=0
            )


def modality_style(index: int) -> tuple[str, Any]:
    """Colour and line of a modality, by its place."""
    count = len(MODALITY_COLOURS)
    return MODALITY_COLOURS[index % count], MODALITY_LINES[index % count]


def wrapped(title: str) -> str:
    """A panel's title in lines that fit above it."""
    # What stands in brackets stays together.
    unbroken = re.sub(
        r"\([^)]*\)", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), title
    )
    return "\n".join(textwrap.wrap(unbroken, 30))
