"""The picture of a diagnosis, for those who decide: three questions, a panel each."""

from collections.abc import Mapping
from typing import Any

from inforeg_lightning.diagnosis.intervals import Estimate

_ALONE, _FUSED, _LEFT, _QUIET = "#0072b2", "#d55e00", "#c79a1b", "#7d7d7d"


def draw(diagnosis: Any) -> Any:
    """What each modality knows alone, what its joint encoder holds, and what the model uses of it.

    Raises:
        ImportError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Patch
    except ImportError as error:
        raise ImportError("plot() needs matplotlib: pip install matplotlib") from error
    names = [*diagnosis.modalities]
    figure = Figure(figsize=(11.5, 1.6 + 0.62 * (len(names) + 1)), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    _knows(left, diagnosis, names)
    _holds(middle, diagnosis, names)
    _uses(right, diagnosis, names)
    figure.suptitle(f"Diagnosis: {diagnosis.verdict}", fontweight="bold")
    # Below the panels: inside one it would lie on bars.
    handles, labels = left.get_legend_handles_labels()
    handles = [Patch(color=_ALONE), Patch(color=_FUSED), *handles]
    labels = ["trained alone", "in the fused model", *labels]
    figure.legend(handles, labels, loc="outside lower left", ncols=len(labels), frameon=False)
    return figure


def _knows(panel: Any, diagnosis: Any, names: list[str]) -> None:
    """Accuracy of each modality alone and fused, and above it what is left on the table."""
    found = {name: diagnosis.value("accuracy", f"{name} alone") for name in names}
    found["fused"] = fused = diagnosis.value("accuracy", "fused")
    _bars(panel, found, [*[_ALONE] * len(names), _FUSED])
    rest = [row for row in diagnosis.table if row["measure"] == "left on the table"]
    if rest and fused is not None and rest[0]["value"] > 0:
        panel.barh(
            len(names),
            100 * rest[0]["value"],
            left=100 * fused.value,
            color="none",
            edgecolor=_LEFT,
            hatch="///",
            height=0.6,
            label="left on the table",
        )
    chance = diagnosis.value("accuracy", "largest class")
    if chance is not None:
        panel.axvline(100 * chance.value, color=_QUIET, linestyle=":", label="chance")
    for index, name in enumerate([*names, "fused"]):
        if name in diagnosis.reference:
            share = 100 * diagnosis.reference[name]
            label = None if index else "reference"
            panel.plot([share] * 2, [index - 0.4, index + 0.4], color="black", label=label)
    panel.set(title="What each knows alone, and fused", xlabel="test accuracy, %", xlim=(0, 100))


def _holds(panel: Any, diagnosis: Any, names: list[str]) -> None:
    """Probes of each encoder: trained alone, and trained jointly."""
    for offset, kind, colour in ((-0.18, "alone", _ALONE), (0.18, "joint", _FUSED)):
        for index, name in enumerate(names):
            value = diagnosis.value("probe of the encoder", f"{name} {kind}")
            if value is not None:
                panel.barh(index + offset, 100 * value.value, height=0.32, color=colour)
    panel.set_yticks(range(len(names)), names)
    panel.invert_yaxis()
    panel.set(title="What its encoder holds", xlabel="accuracy of a probe, %", xlim=(0, 100))


def _uses(panel: Any, diagnosis: Any, names: list[str]) -> None:
    """Shapley shares, or without them what permuting costs."""
    measure = "Shapley share"
    if all(diagnosis.value(measure, name) is None for name in names):
        measure = "lost when permuted"
    _bars(panel, {n: diagnosis.value(measure, n) for n in names}, [_FUSED] * len(names))
    panel.axvline(0, color=_QUIET, linewidth=0.8)
    panel.set(title="What the fused model uses", xlabel=f"{measure}, points")


def _bars(panel: Any, found: Mapping[str, Estimate | None], colours: list[str]) -> None:
    names = [*found]
    for index, (name, colour) in enumerate(zip(names, colours, strict=True)):
        value = found[name]
        if value is not None:
            ends = [[100 * (value.value - value.low)], [100 * (value.high - value.value)]]
            panel.barh(index, 100 * value.value, height=0.6, color=colour)
            panel.errorbar(100 * value.value, index, xerr=ends, color="black", capsize=3)
    panel.set_yticks(range(len(names)), names)
    panel.invert_yaxis()
