"""Accuracy, or another metric, against a searched parameter (the paper's Figures 7 and 8)."""

import re
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from inforeg_lightning.report import style
from inforeg_lightning.report.figures import Plot
from inforeg_lightning.report.group import Group
from inforeg_lightning.report.measures import measure
from inforeg_lightning.report.schema import is_number
from inforeg_lightning.report.summary import Summary
from inforeg_lightning.report.tables import heading

SYMBOLS = {"beta": "β"}
LEAST_RANGE = 6.0  # points

Curve = list[tuple[float, int]]
"""Values of the parameter, ascending, and the index of each one's group."""


def sweep_plots(summary: Summary, parameter: str) -> list[Plot]:
    """The figure of a searched parameter, if two groups of one method differ in it.

    Args:
        summary: The experiment.
        parameter: Its name in the signature of the method, ``"beta"`` or ``"K"``.
    """
    curves = _curves(summary, parameter)
    if not curves:
        return []
    symbol = SYMBOLS.get(parameter, parameter)
    return [
        Plot(
            f"sweep_{parameter}",
            f"Test {measure(summary.metric).title} at the last epoch against {symbol}",
            "Dots are seeds; lines join their means, with 95 % t intervals. Dashed: the baseline, "
            "which does not have the parameter, its mean and interval. All values are shown; to "
            "take the best of them would be to choose on the test set.",
            lambda: sweep(summary, curves, symbol),
        )
    ]


def sweep(summary: Summary, curves: dict[str, Curve], symbol: str) -> Figure:
    """A panel for the fused prediction and one for each probe."""
    of = measure(summary.metric)
    quantities = [summary.metric, *(f"probe_{modality}" for modality in summary.modalities)]
    figure, axes = style.panels(1, len(quantities), height=2.9, share=False)
    colours = {
        title: style.METHOD_COLOURS[index % len(style.METHOD_COLOURS)]
        for index, title in enumerate(curves)
    }
    handles = {title: Line2D([], [], color=c, marker="o", ms=4) for title, c in colours.items()}
    for panel, quantity in zip(axes[0], quantities, strict=True):
        for index, group in enumerate(summary.groups):
            if summary.is_baseline(group) and (index, "last", quantity) in summary.cells:
                handles[group.title] = _level(panel, summary, index, quantity)
        for title, curve in curves.items():
            _line(panel, summary, curve, quantity, colours[title])
        panel.set_title(heading(quantity, summary.metric).capitalize())
        panel.set_xlabel(symbol)
        if of.share:
            _widen(panel)
    axes[0, 0].set_ylabel(f"test {of.title}{', %' if of.share else ''}")
    style.legend_below(figure, list(handles.values()), list(handles))
    return figure


def _widen(panel: Axes) -> None:
    """Show at least a few points of accuracy, that noise may not look like a trend."""
    low, high = panel.get_ylim()
    lacking = max(0.0, LEAST_RANGE - (high - low)) / 2
    panel.set_ylim(low - lacking, high + lacking)


def _line(panel: Axes, summary: Summary, curve: Curve, quantity: str, colour: str) -> None:
    scale = measure(summary.metric).scale
    known = [(x, i) for x, i in curve if (i, "last", quantity) in summary.cells]
    cells = [summary.cells[index, "last", quantity].value for _, index in known]
    for x, index in known:
        values = summary.groups[index].values("last", quantity).values()
        dots = [scale * value for value in values]
        panel.plot([x] * len(dots), dots, "o", color=colour, alpha=0.4, ms=4)
    panel.errorbar(
        [x for x, _ in known],
        [scale * cell.mean for cell in cells],
        [scale * (cell.half_width or 0) for cell in cells],
        color=colour,
        capsize=3,
        lw=1.5,
    )


def _level(panel: Axes, summary: Summary, index: int, quantity: str) -> Line2D:
    cell = summary.cells[index, "last", quantity].value
    scale = measure(summary.metric).scale
    if cell.low is not None and cell.high is not None:
        panel.axhspan(
            scale * cell.low, scale * cell.high, color=style.BASELINE_COLOUR, alpha=0.18, lw=0
        )
    return panel.axhline(scale * cell.mean, color=style.BASELINE_COLOUR, linestyle=(0, (4, 1.5)))


def _curves(summary: Summary, parameter: str) -> dict[str, Curve]:
    """Title -> curve, of each method with two or more values."""
    found: dict[str, Curve] = {}
    for index, group in enumerate(summary.groups):
        value = _value(group, parameter)
        if value is not None and not summary.is_baseline(group):
            # Titles state values, as "InfoReg (β 0.9, K 0.04)".
            found.setdefault(re.sub(r" \([^)]*\)", "", group.title, count=1), []).append(
                (value, index)
            )
    return {title: sorted(curve) for title, curve in found.items() if len(curve) > 1}


def _value(group: Group, parameter: str) -> float | None:
    callbacks = group.runs[0].result.get("config", {}).get("callbacks")
    nodes = callbacks.values() if isinstance(callbacks, Mapping) else ()
    values = [node[parameter] for node in nodes if isinstance(node, Mapping) and parameter in node]
    return float(values[0]) if values and is_number(values[0]) else None
