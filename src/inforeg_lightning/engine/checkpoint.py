"""What of an engine is saved, and what a checkpoint must agree in to be gone on from."""

import warnings
from collections.abc import Mapping
from typing import Any

from inforeg_lightning.engine.book.tracker import Tracker
from inforeg_lightning.engine.method import Method

_VERSION = 2


def write_state(
    method: Method, tracker: Tracker, period: int | str, inside: bool
) -> dict[str, Any]:
    """What is saved of a method at work, in plain types and tensors on the CPU.

    Args:
        method: What is measured and done.
        tracker: Its book.
        period: ``"epoch"`` or a number of optimiser steps.
        inside: Whether the period that is open goes on after this.
    """
    return _identity(method, tracker, period) | {
        "settings": _settings(method),
        "book": tracker.state_dict(inside),
        "method": method.state_dict(inside),
    }


def read_state(
    state: Mapping[str, Any], method: Method, tracker: Tracker, period: int | str
) -> None:
    """Have a method and its book go on from a saved state.

    Raises:
        ValueError: It is of another version, variant or score, or of other modalities or periods.
    """
    if "tracker" in state:
        raise ValueError(
            f"the checkpoint's {tracker.name} was saved by inforeg-lightning 0.1.0 (layout "
            f"{state.get('version')}), whose history is packed; this is layout {_VERSION}. Finish "
            "that run with 0.1.0, or start without ckpt_path."
        )
    for name, value in _identity(method, tracker, period).items():
        if state.get(name) != value:
            raise ValueError(
                f"the checkpoint's {tracker.name} has {name} {state.get(name)!r}, this one has "
                f"{value!r}. Resume with the same callback, or start without ckpt_path."
            )
    before, now = state["settings"], _settings(method)
    changed = [f"{n}={before[n]} -> {now[n]}" for n in now if before.get(n, now[n]) != now[n]]
    if changed:
        warnings.warn(
            f"{tracker.name} goes on from a checkpoint with other settings: {', '.join(changed)}. "
            "The history so far is of the old ones.",
            stacklevel=3,
        )
    tracker.load_state_dict(state["book"])
    method.load_state_dict(state["method"])


def _identity(method: Method, tracker: Tracker, period: int | str) -> dict[str, Any]:
    score = method.score
    return {
        "version": _VERSION,
        "variant": method.variant,
        "modalities": [*tracker.modalities],
        "period": period,
        "score": score if isinstance(score, str) else "callable",
    }


def _settings(method: Method) -> dict[str, str]:
    """By argument, in words: objects of a user's own are told apart by their class only."""
    return {
        name: repr(value)
        if isinstance(value, str | int | float | bool | tuple | dict | None)
        or hasattr(value, "__dataclass_fields__")
        else type(value).__qualname__
        for name, value in method.settings.items()
    }
