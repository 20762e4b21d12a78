"""The inputs of encoders in a training step, to run these once more with others."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map
from torch.utils.hooks import RemovableHandle

from inforeg_lightning.engine.probe.head import evaluating
from inforeg_lightning.methods._hook import Hook

Call = tuple[nn.Module, Any]
"""A module, and the positional and named inputs of a call."""


class Inputs:
    """Keeps the calls of encoders while it watches.

    Args:
        modules: Modality -> the modules of its encoder.
    """

    def __init__(self, modules: Mapping[str, Sequence[nn.Module]]) -> None:
        self.watches = False
        self.calls: dict[str, list[Call]] = {}
        self._handles: list[RemovableHandle] = [
            module.register_forward_hook(Hook(self._see, modality), with_kwargs=True)
            for modality, parts in modules.items()
            for module in parts
        ]

    def start(self) -> None:
        """Forget the calls so far, and watch."""
        self.calls, self.watches = {}, True

    def stop(self) -> dict[str, list[Call]]:
        """Watch no longer, and hand out the calls."""
        calls, self.calls, self.watches = self.calls, {}, False
        return calls

    def close(self) -> None:
        """Remove the hooks."""
        self.stop()
        for handle in self._handles:
            handle.remove()

    def _see(self, modality: str, module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        if self.watches:
            self.calls.setdefault(modality, []).append((module, (args, kwargs)))


@torch.no_grad()
def sensitivity(
    calls: Sequence[Call], draw: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor] | None:
    """How much the outputs of two noisy copies of the inputs differ, and how much the inputs do.

    In evaluation mode, so that running statistics stay and nothing else is drawn.

    Args:
        calls: Of one encoder.
        draw: Makes the noise of a tensor.

    Returns:
        The mean square of the difference of all outputs, and that of all inputs, each of shape
        ``()``; ``None`` if no input is of floating point.
    """
    outputs: list[Tensor] = []
    inputs: list[Tensor] = []
    for module, given in calls:
        leaves = [x for x in tree_flatten(given)[0] if _is_noisy(x)]
        if not leaves:
            return None
        copies = [tree_map(lambda x: x + draw(x) if _is_noisy(x) else x, given) for _ in "12"]
        with evaluating(module):
            one, other = (module(*args, **kwargs) for args, kwargs in copies)
        inputs += _differences(*copies)
        outputs += _differences(one, other)
    return _mean_square(outputs), _mean_square(inputs)


def _differences(one: Any, other: Any) -> list[Tensor]:
    pairs = zip(tree_flatten(one)[0], tree_flatten(other)[0], strict=True)
    return [(a - b).float() for a, b in pairs if _is_noisy(a)]


def _mean_square(parts: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten() for part in parts]).square().mean()


def _is_noisy(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()
