"""The hooks of a probe, which stay behind when a module is copied."""

from typing import TYPE_CHECKING, Any, Literal
from weakref import ref

from torch import nn

if TYPE_CHECKING:
    from inforeg_lightning.engine.probe.probe import UnimodalProbe


class ForwardHook:
    """A forward hook that a copied or pickled module forgets, instead of taking the probe along."""

    def __init__(
        self,
        probe: "UnimodalProbe | None",
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
