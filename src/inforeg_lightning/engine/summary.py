"""What a user sees of a training: lines at its start and end, a figure and a table."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from inforeg_lightning.engine.book.period import PeriodSums
from inforeg_lightning.engine.engine import Engine
from inforeg_lightning.engine.probe.head import plain_linear

_NOT_BY_MODALITY = ("period", "epoch", "step", "steps", "skipped")


def describe_start(engine: Engine) -> list[str]:
    """One line per modality, once the head has been seen, and one for what belongs to nobody."""
    if engine.probe is None:
        split = "unimodal logits reported"
    elif plain_linear(engine.probe.head) is not None:
        split = f"its columns of {engine.head_path!r}"
    else:
        split = f"{engine.head_path!r} with the others zeroed"
    first = getattr(engine.tracker.window, "first", 0)
    unit = "epoch" if engine.period == "epoch" else f"period of {engine.period} steps"
    lines = []
    for modality, encoder in engine.tracker.encoders.items():
        count = sum(p.numel() for p in encoder.parameters)
        trained = sum(p.numel() for p in encoder.parameters if p.requires_grad)
        if engine.only_measures:
            acts = "measured only"
        elif not trained:
            acts = "frozen: compared, never regulated"
        else:
            acts = f"can be regulated from {unit} {first} on"
            if trained < count:
                acts = f"{trained:,} of them trained, {acts}"
        layout = None if engine.probe is None else engine.probe.layout
        if layout is not None and modality in layout.absent:
            acts += "; not in the first batch"
        lines.append(f"{engine.name}: {modality}: {count:,} parameters, {acts}; {split}")
    if engine.probe is not None and (strangers := engine.probe.of_nobody()):
        absent = [] if engine.probe.layout is None else sorted(engine.probe.layout.absent)
        lines.append(
            f"{engine.name}: {' and '.join(strangers)} of the head's input belong to no encoder"
            + (f", or to {' and '.join(absent)}, which the first batch lacks" if absent else "")
            + ", and are left out of every unimodal logit"
        )
    return lines


def describe_end(engine: Engine) -> str:
    """One line: in which periods each modality was regulated, and how strongly."""
    history = engine.tracker.history
    unit = "epochs" if engine.period == "epoch" else f"periods of {engine.period} steps"
    parts = []
    for modality in engine.modalities:
        acted = [entry for entry in history if _acted(entry, modality)]
        text = f"{modality} in {len(acted)} of {len(history)} {unit}"
        for quantity, name in (
            ("alpha", "mean α"),
            ("coefficient", "mean factor"),
            ("pull", "ρ"),
        ):
            values = [entry[quantity][modality] for entry in acted if quantity in entry]
            known = [value for value in values if value is not None]
            if known:
                text += f", {name} {sum(known) / len(known):.2g}"
        parts.append(text)
    pulls = "alpha" in engine.method.quantities
    done = "measured" if engine.only_measures else "regulated" if pulls else "acted on"
    return f"{engine.name}: {done} " + "; ".join(parts)


def warn_of_idle_window(engine: Engine, epochs: float, steps: float = math.inf) -> None:
    """Warn if no period that is planned can be regulated.

    Args:
        engine: The engine.
        epochs: How many there are to come, ``inf`` if that is not known.
        steps: How many optimiser steps there are to come, likewise.
    """
    window, period, history = engine.tracker.window, engine.period, engine.tracker.history
    sums = engine.tracker.sums
    first = getattr(window, "first", 0)
    to_come = epochs
    if isinstance(period, int):
        to_come = steps if math.isinf(steps) else math.ceil((steps + _steps_of(sums)) / period)
    periods = len(history) + to_come
    if engine.only_measures or periods > first:
        return
    unit = "epochs" if period == "epoch" else f"periods of {period} steps"
    warnings.warn(
        f"{engine.name}: no period of this training can be regulated: {window!r} can open in "
        f"period {first} at the earliest (counted from 0), but only {periods:g} {unit} are planned."
        f" {_remedy(first, steps)}",
        stacklevel=3,
    )


def _steps_of(sums: PeriodSums | None) -> int:
    return 0 if sums is None else sums.steps


def _remedy(first: int, steps: float) -> str:
    """What to write so that there are periods enough: 20, if that many steps are planned."""
    if steps <= first:
        return f"Train for more than {first} steps, or pass window='always'."
    length = 100 if math.isinf(steps) else max(min(steps // 20, math.ceil(steps / first) - 1), 1)
    return (
        f"Pass period={length:g}, a number of optimiser steps, so that there are more periods, or "
        "another `window`."
    )


def history_frame(history: Sequence[Mapping[str, Any]]) -> Any:
    """The history as a tidy ``pandas.DataFrame``: a row per period and modality."""
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("frame() needs pandas: pip install pandas") from error
    rows = []
    for entry in history:
        counts = {name: entry[name] for name in _NOT_BY_MODALITY}
        for modality in entry["trace"]:
            values = {
                quantity: of.get(modality) for quantity, of in entry.items() if isinstance(of, dict)
            }
            rows.append(counts | {"modality": modality} | values)
    return pd.DataFrame(rows)


def plot_history(
    history: Sequence[Mapping[str, Any]], modalities: Sequence[str], quantity: str = "trace"
) -> Any:
    """A quantity per modality and period, with the periods in which it was in its window shaded."""
    if not history:
        raise ValueError("plot() needs a history, but no period has ended yet: train first")
    if not isinstance(history[0].get(quantity), dict):
        known = [name for name, of in history[0].items() if isinstance(of, dict)]
        raise ValueError(f"`quantity` must be one of {known}, but is {quantity!r}")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plot() needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(3.6 * len(modalities), 2.8), layout="constrained")
    axes = figure.subplots(1, len(modalities), sharex=True, squeeze=False)[0]
    for index, (modality, axis) in enumerate(zip(modalities, axes, strict=True)):
        periods = [entry["period"] for entry in history]
        values = [entry[quantity][modality] for entry in history]
        axis.plot(periods, [float("nan") if v is None else v for v in values], color=f"C{index}")
        for entry in history:
            if entry["in_window"][modality]:
                axis.axvspan(entry["period"] - 0.5, entry["period"] + 0.5, color="0.9", lw=0)
        axis.set(title=modality, xlabel="period")
        axis.margins(x=0)
    axes[0].set_ylabel(quantity)
    return figure


def _acted(entry: Mapping[str, Any], modality: str) -> bool:
    alpha = entry.get("alpha", {}).get(modality, 1.0)
    return bool(entry["in_window"][modality] and alpha != 0)
