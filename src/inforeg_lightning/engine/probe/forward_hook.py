"""The hooks of a probe, which stay behind when a module is copied."""

from typing import Any, Literal, Protocol
from weakref import ref

from torch import nn


class Probe(Protocol):
    """What the hooks report to."""

    def see_encoder(self, modality: str, output: Any) -> Any:
        """An encoder was called."""

    def see_head(self, args: Any, kwargs: Any) -> Any:
        """The head is about to be called."""

    def see_output(self, args: Any, kwargs: Any, output: Any) -> Any:
        """The head was called."""


class ForwardHook:
    """A forward hook that a copied or pickled module forgets, instead of taking the probe along."""

    def __init__(
        self,
        probe: Probe | None,
        sees: Literal["encoder", "head", "output"],
        modality: str = "",
    ) -> None:
        self.probe = None if probe is None else ref(probe)
        self.sees: Literal["encoder", "head", "output"] = sees
        self.modality = modality

    def __call__(self, module: nn.Module, args: Any, *rest: Any) -> Any:
        """What the probe has the module go on with."""
        probe = None if self.probe is None else self.probe()
        if probe is None:
            return None
        if self.sees == "output":
            return probe.see_output(args, *rest)
        if self.sees == "head":
            return probe.see_head(args, *rest)
        return probe.see_encoder(self.modality, *rest)

    def __deepcopy__(self, memo: Any) -> "ForwardHook":
        return ForwardHook(None, self.sees, self.modality)

    def __reduce__(self) -> tuple[Any, ...]:
        return ForwardHook, (None, self.sees, self.modality)
