"""What of an engine is saved, and what a checkpoint must agree in to be gone on from."""

import warnings
from collections.abc import Mapping
from dataclasses import is_dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inforeg_lightning.engine.engine import Engine

_VERSION = 2


def write_state(engine: "Engine", inside: bool) -> dict[str, Any]:
    """What is saved of an engine, in plain types and tensors on the CPU.

    Args:
        engine: The engine.
        inside: Whether the period that is open goes on after this.
    """
    return _identity(engine) | {
        "settings": _settings(engine),
        "book": engine.tracker.state_dict(inside),
        "method": engine.method.state_dict(inside),
    }


def read_state(engine: "Engine", state: Mapping[str, Any]) -> None:
    """Have an engine go on from a saved state.

    Raises:
        ValueError: It is of another version, variant or score, or of other modalities or periods.
    """
    if "tracker" in state:
        raise ValueError(
            f"the checkpoint's {engine.name} was saved by inforeg-lightning 0.1.0 (layout "
            f"{state.get('version')}), whose history is packed; this is layout {_VERSION}. Finish "
            "that run with 0.1.0, or start without ckpt_path."
        )
    for name, value in _identity(engine).items():
        if state.get(name) != value:
            raise ValueError(
                f"the checkpoint's {engine.name} has {name} {state.get(name)!r}, this one has "
                f"{value!r}. Resume with the same callback, or start without ckpt_path."
            )
    before, now = state["settings"], _settings(engine)
    changed = [f"{n}={before[n]} -> {now[n]}" for n in now if before.get(n, now[n]) != now[n]]
    if changed:
        warnings.warn(
            f"{engine.name} goes on from a checkpoint with other settings: {', '.join(changed)}. "
            "The history so far is of the old ones.",
            stacklevel=3,
        )
    engine.tracker.load_state_dict(state["book"])
    engine.method.load_state_dict(state["method"])


def _identity(engine: "Engine") -> dict[str, Any]:
    score = engine.method.score
    return {
        "version": _VERSION,
        "variant": engine.method.variant,
        "modalities": [*engine.modalities],
        "period": engine.period,
        "score": score if isinstance(score, str) else "callable",
    }


def _settings(engine: "Engine") -> dict[str, str]:
    """By argument, in words: objects of a user's own are told apart by their class only.

    The window stands as it is made of what the user wrote, so that two ways to write one are equal.
    """
    settings = engine.method.settings | {"window": engine.tracker.window}
    return {name: _in_words(value) for name, value in settings.items()}


def _in_words(value: Any) -> str:
    if isinstance(value, Real) and not isinstance(value, bool):
        return f"{float(value):g}"
    if isinstance(value, str | bool | tuple | dict | None) or is_dataclass(value):
        return repr(value)
    return type(value).__qualname__
