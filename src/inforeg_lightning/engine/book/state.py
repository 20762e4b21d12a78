"""State declared once, by name, default and lifetime; reset, saved and loaded from there."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Literal

import torch
from torch import Tensor

from inforeg_lightning.core._dtensor import whole

Saved = Literal["always", "inside", "never"]


class Lifetime(IntEnum):
    """How long a state is kept."""

    BATCH = 0
    """Until the (micro-)batch is over."""
    STEP = 1
    """Until the optimiser step that the micro-batches lead to has been taken in."""
    PERIOD = 2
    FIT = 3
    """Until a training begins afresh."""


@dataclass(frozen=True)
class _Declaration:
    default: Callable[[], Any] | None
    lifetime: Lifetime
    saved: Saved

    def make(self) -> Any:
        """A fresh value."""
        return None if self.default is None else self.default()


class Stateful:
    """Base of what keeps state between batches.

    Each state is declared once by :meth:`add_state`, and is then a plain attribute. Nothing else
    resets, saves or loads it.
    """

    def add_state(
        self,
        name: str,
        default: Callable[[], Any] | None,
        lifetime: Lifetime,
        saved: Saved = "never",
    ) -> None:
        """Declare a state, and set it to its default.

        Args:
            name: The attribute.
            default: Makes the value that it begins with and is reset to; ``None`` for ``None``. A
                callable that can be pickled, since callbacks are sent to other processes.
            lifetime: When it is reset.
            saved: ``"always"``; ``"inside"``: only in a checkpoint inside a period, whose steps go
                on after it; or ``"never"``. What is saved is made of plain types and tensors, or
                has a ``state_dict`` and a ``load_state_dict``.
        """
        declaration = _Declaration(default, lifetime, saved)
        self.__dict__.setdefault("_declared", {})[name] = declaration
        setattr(self, name, declaration.make())

    def reset(self) -> None:
        """Set every state to its default."""
        for lifetime in Lifetime:
            self.forget(lifetime)

    def forget(self, lifetime: Lifetime) -> None:
        """Set the states of one lifetime to their defaults.

        Those of a shorter one stay: a step that was optimised by hand may end within a batch.
        """
        for name, declaration in self._declarations.items():
            if declaration.lifetime is lifetime:
                setattr(self, name, declaration.make())

    def state_dict(self, inside: bool = True) -> dict[str, Any]:
        """What is saved, in plain types and tensors on the CPU.

        Args:
            inside: Whether the period that is open goes on after this.
        """
        kept = {
            name
            for name, declaration in self._declarations.items()
            if declaration.saved == "always" or (declaration.saved == "inside" and inside)
        }
        return {name: _plain(getattr(self, name)) for name in sorted(kept)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Begin afresh, and go on from a saved state."""
        self.reset()
        for name, value in state.items():
            own = getattr(self, name)
            if hasattr(own, "load_state_dict"):
                own.load_state_dict(value)
            else:
                setattr(self, name, _copied(value))

    @property
    def _declarations(self) -> dict[str, _Declaration]:
        declared: dict[str, _Declaration] = self.__dict__.get("_declared", {})
        return declared


def moved(value: Any, device: torch.device) -> Any:
    """A state with all tensors in it on a device, as a saved one is when training goes on."""
    if isinstance(value, Tensor):
        return value.to(device)
    return _mapped(value, lambda leaf: moved(leaf, device))


def _plain(value: Any) -> Any:
    if hasattr(value, "state_dict"):
        return value.state_dict()
    if isinstance(value, Tensor):
        return whole(value).detach().cpu()
    return _mapped(value, _plain)


def _copied(value: Any) -> Any:
    return _mapped(value, _copied)


def _mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    if isinstance(value, Mapping):
        return {key: function(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(function(item) for item in value)
    return value
