"""The figures of an experiment; each takes a summary and returns a Matplotlib figure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from inforeg_lightning.report import style
from inforeg_lightning.report.group import Group
from inforeg_lightning.report.measures import ACCURACY, Measure, measure
from inforeg_lightning.report.runs import Run
from inforeg_lightning.report.schema import is_number
from inforeg_lightning.report.summary import Summary
from inforeg_lightning.report.tables import heading

MOST_GROUPS = 4
_OF_ALL = ("trace", "change", "in_window", "score")
"""What the history of every method holds by modality."""


@dataclass(frozen=True)
class Plot:
    """A figure with what a reader needs beside it."""

    name: str
    title: str
    caption: str
    draw: Callable[[], Figure]


@dataclass(frozen=True)
class Drawn:
    """The groups that are drawn, with their colours, and the metric that they are compared by."""

    groups: tuple[Group, ...]
    colours: tuple[str, ...]
    modalities: tuple[str, ...]
    metric: str = ACCURACY

    def __iter__(self) -> Any:
        return iter(zip(self.groups, self.colours, strict=True))


def choose(summary: Summary) -> Drawn:
    """The baseline and the groups of the best mean on **validation**, at most four in all.

    The test set has no say: what is shown must not be what happened to test well.
    """
    sign = 1 if measure(summary.metric).lower_is_better else -1
    ranked = sorted(
        summary.groups, key=lambda g: (not summary.is_baseline(g), sign * _validation(g), g.title)
    )
    chosen = [group for group in summary.groups if group in ranked[:MOST_GROUPS]]
    others = iter(style.METHOD_COLOURS)
    colours = [
        style.BASELINE_COLOUR if summary.is_baseline(group) else next(others) for group in chosen
    ]
    return Drawn(tuple(chosen), tuple(colours), summary.modalities, summary.metric)


def plots(summary: Summary) -> list[Plot]:
    """All figures of an experiment, for which its runs have something to show."""
    drawn, of = choose(summary), measure(summary.metric)
    better = " Lower is better." if of.lower_is_better else ""
    seeds = "Lines are means over seeds, bands reach from the least to the greatest seed."
    found = [
        Plot(
            f"test_{summary.metric}",
            f"Test {of.title} at the last epoch",
            f"Dots are seeds, bars means with their 95 % t interval. A head is what the fused "
            "classifier reads from a modality; a probe is what a new linear classifier reads "
            f"from the same frozen encoder.{better}",
            lambda: metric_of_seeds(drawn, summary),
        ),
        Plot(
            f"{summary.metric}_by_epoch",
            f"Validation {of.title} by epoch",
            f"Of the fused prediction and of each modality's share of the head. {seeds}{better}",
            lambda: metric_by_epoch(drawn),
        ),
    ]
    if any(run.history for group in drawn.groups for run in group.runs):
        found += [
            Plot(
                "traces",
                "Fisher trace of each encoder",
                "Mean squared norm of the encoder's gradient over an epoch. Shaded: the window in "
                "which the method acts (of InfoReg, the prime learning window), darker the more "
                f"seeds have it open. {seeds}",
                lambda: traces(drawn),
            ),
            Plot(
                "scores",
                "Scores, and what the method did",
                "Score: what one modality alone gives the true class, as the method measures it: "
                "its mean log-probability, its mean probability (OGM, OGM-GE), or the sum of "
                "probabilities over a batch (InfoReg's published code). Dots: the quantity at the "
                "axis, of InfoReg the strength α, mean of an epoch, of each seed and modality "
                f"inside its window. {seeds}",
                lambda: scores(drawn),
            ),
        ]
    return found


def traces(drawn: Drawn) -> Figure:
    """Trace by epoch, a row per modality and a column per method, with the window shaded."""
    figure, axes = style.panels(len(drawn.modalities), len(drawn.groups))
    for column, (group, colour) in enumerate(drawn):
        for row, modality in enumerate(drawn.modalities):
            panel = axes[row, column]
            style.shade(panel, _window(group, modality))
            style.band(panel, _history(group, "trace", modality), colour)
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter("{x:g}")  # the default writes mathematics, which is off
            if row == 0:
                panel.set_title(style.wrapped(group.title))
            if column == 0:
                panel.set_ylabel(f"{modality} encoder\nTr(F), log scale")
    _label_time(axes, drawn)
    handles = [
        Line2D([], [], color=style.FOREGROUND),
        Patch(color=style.WINDOW_COLOUR, alpha=0.3, linewidth=0),
    ]
    style.legend_below(figure, handles, ["trace", "window"])
    return figure


def metric_by_epoch(drawn: Drawn) -> Figure:
    """The metric on validation by epoch: fused, then each modality's head."""
    names = [drawn.metric, *(f"{drawn.metric}_{modality}" for modality in drawn.modalities)]
    of = measure(drawn.metric)
    figure, axes = style.panels(1, len(names), height=2.9)
    lines: dict[str, Any] = {}
    for panel, name in zip(axes[0], names, strict=True):
        for group, colour in drawn:
            if runs := [r.curves[f"val/{name}"] for r in group.runs if f"val/{name}" in r.curves]:
                dash = (0, (4, 1.5)) if colour == style.BASELINE_COLOUR else "-"
                lines[group.title] = style.band(panel, runs, colour, dash, scale=of.scale)
        title = heading(name, drawn.metric)
        panel.set_title("Fused" if name == drawn.metric else f"Head, {title.split(',')[0]}")
        style.label_time(panel, "epoch")
    axes[0, 0].set_ylabel(_axis("validation", of))
    if lines:
        style.legend_below(figure, list(lines.values()), list(lines))
    return figure


def scores(drawn: Drawn) -> Figure:
    """Score and strength by epoch, a column per method, a line per modality."""
    figure, axes = style.panels(2, len(drawn.groups), share=False)
    for column, group in enumerate(drawn.groups):
        axes[0, column].set_title(style.wrapped(group.title))
        for index, modality in enumerate(drawn.modalities):
            colour, dash = style.modality_style(index)
            style.band(axes[0, column], _history(group, "score", modality), colour, dash)
        _effects(axes[1, column], group, drawn)
    _share_log_probabilities(axes[0], drawn)
    axes[0, 0].set_ylabel("score")
    _label_time(axes, drawn)
    styles = [style.modality_style(index) for index in range(len(drawn.modalities))]
    handles = [Line2D([], [], color=colour, linestyle=dash) for colour, dash in styles]
    style.legend_below(figure, handles, list(drawn.modalities))
    return figure


def _share_log_probabilities(panels: Sequence[Axes], drawn: Drawn) -> None:
    """Give panels of log-probabilities, which are negative, one range; others keep their own."""
    lows = {}
    for panel, group in zip(panels, drawn.groups, strict=True):
        runs = [run for m in drawn.modalities for run in _history(group, "score", m)]
        values = [value for run in runs for value in run.values()]
        if values and max(values) <= 0:
            lows[panel] = min(values)
    for panel in lows:
        panel.set_ylim(1.05 * min(lows.values()), 0)


def _effects(panel: Axes, group: Group, drawn: Drawn) -> None:
    effect = _effect(group)
    alike = [run for each in drawn.groups if _effect(each) == effect for run in each.runs]
    every = [x for run in alike for m in drawn.modalities for x in _applied(run, m).values()]
    panel.set_ylim(min(0.0, 1.08 * min(every, default=0.0)), 1.08 * max(every, default=1.0) or 1.0)
    panel.set_ylabel({"alpha": "strength α,\nwhere applied"}.get(effect or "", effect or ""))
    applied = False
    for index, modality in enumerate(drawn.modalities):
        for run in group.runs:
            at = _applied(run, modality)
            panel.plot(list(at), list(at.values()), ".", color=style.modality_style(index)[0])
            applied = applied or bool(at)
    if not applied:
        panel.text(0.5, 0.5, "none applied", transform=panel.transAxes, ha="center")


def _effect(group: Group) -> str | None:
    """The quantity that says what the method did: InfoReg's α, of any other its first own."""
    entries = [entry for run in group.runs for entry in run.history]
    own = (
        [q for q, of in entries[0].items() if isinstance(of, dict) and q not in _OF_ALL]
        if entries
        else []
    )
    return "alpha" if "alpha" in own and "gap" in own else next(iter(own), None)


def metric_of_seeds(drawn: Drawn, summary: Summary) -> Figure:
    """Every seed's test value at the last epoch, with mean and interval."""
    shown = [q for q in summary.quantities if q not in ("imbalance", *summary.further)]
    of = measure(summary.metric)
    figure, axes = style.panels(1, 1, width=1.7 * len(shown), height=2.9)
    panel, offsets = axes[0, 0], _offsets(len(drawn.groups))
    for offset, (group, colour) in zip(offsets, drawn, strict=True):
        for position, quantity in enumerate(shown):
            index = summary.groups.index(group)
            cell = summary.cells.get((index, "last", quantity))
            if cell is None:
                continue
            values = [of.scale * value for value in group.values("last", quantity).values()]
            x = position + offset
            panel.plot([x] * len(values), values, "o", color=colour, alpha=0.45, markersize=4)
            mean, half = of.scale * cell.value.mean, of.scale * (cell.value.half_width or 0)
            panel.errorbar(x, mean, half, fmt="_", color=colour, markersize=13, capsize=3, lw=1.3)
    panel.set_xticks(range(len(shown)), [heading(q, summary.metric) for q in shown])
    panel.grid(axis="x", visible=False)
    panel.set_ylabel(_axis("test", of))
    if of.share:
        low, high = panel.get_ylim()
        panel.set_ylim(max(low, 0), min(high, 101.5))  # an interval may reach beyond, a share not
    handles = [Line2D([], [], color=colour, marker="o", markersize=4) for _, colour in drawn]
    style.legend_below(figure, handles, [group.title for group in drawn.groups])
    return figure


def _axis(of_what: str, of: Measure) -> str:
    return f"{of_what} {of.title}{', %' if of.share else ''}"


def _offsets(count: int) -> list[float]:
    return [0.17 * (index - (count - 1) / 2) for index in range(count)]


def _label_time(axes: Any, drawn: Drawn) -> None:
    every = [run.history for group in drawn.groups for run in group.runs if run.history]
    for panel in axes[-1]:
        style.label_time(panel, "epoch" if all(map(_by_epoch, every)) else "period")


def _by_epoch(history: Sequence[Mapping[str, Any]]) -> bool:
    return all(entry["epoch"] == entry["period"] for entry in history)


def _history(group: Group, quantity: str, modality: str) -> list[dict[int, float]]:
    return [
        {
            entry["period"]: value
            for entry in run.history
            if is_number(value := _of(entry, quantity, modality))
        }
        for run in group.runs
    ]


def _of(entry: Mapping[str, Any], quantity: str, modality: str) -> Any:
    """A value of a history's entry, or ``None``: methods differ in what they hold."""
    found = entry.get(quantity)
    return found.get(modality) if isinstance(found, Mapping) else None


def _window(group: Group, modality: str) -> dict[int, float]:
    open_in: dict[int, list[bool]] = {}
    for run in group.runs:
        for entry in run.history:
            open_in.setdefault(entry["period"], []).append(bool(_of(entry, "in_window", modality)))
    return {period: float(np.mean(values)) for period, values in open_in.items()}


def _applied(run: Run, modality: str) -> dict[int, float]:
    effect = _effect(Group((run,), ""))
    return {
        entry["period"]: value
        for entry in run.history
        if effect and _of(entry, "in_window", modality)
        if is_number(value := _of(entry, effect, modality))
        if effect != "alpha" or value  # InfoReg's weakest modality gets none
    }


def _validation(group: Group) -> float:
    known = group.validations("best").values()
    return float(np.mean([*known])) if known else 0.0
