"""What a user sees of a training: lines at its start and end, a figure and a table."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

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
        lines.append(
            f"{engine.name}: {' and '.join(strangers)} of the head's input belong to no encoder, "
            "and are left out of every unimodal logit"
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
        for quantity, name in (("alpha", "α"), ("coefficient", "factor"), ("pull", "ρ")):
            values = [entry[quantity][modality] for entry in acted if quantity in entry]
            known = [value for value in values if value is not None]
            if known:
                text += f", mean {name} {sum(known) / len(known):.2g}"
        parts.append(text)
    done = "measured" if engine.only_measures else "acted on"
    return f"{engine.name}: {done} " + "; ".join(parts)


def warn_of_idle_window(engine: Engine, periods: float) -> None:
    """Warn if no period that is planned can be regulated.

    Args:
        engine: The engine.
        periods: How many there will be in all, as far as is known.
    """
    window = engine.tracker.window
    first = getattr(window, "first", 0)
    if engine.only_measures or periods > first:
        return
    steps = "period=N" if engine.period == "epoch" else f"a `period` below {engine.period}"
    warnings.warn(
        f"{engine.name}: no period of this training can be regulated: {window!r} can open in "
        f"period {first} at the earliest, but only {periods:g} "
        f"{'epochs' if engine.period == 'epoch' else 'periods'} are planned. Pass {steps} with N "
        f"optimiser steps, so that there are more than {first} periods, or another `window`.",
        stacklevel=3,
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
