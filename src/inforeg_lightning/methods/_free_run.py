"""How far an encoder would have gone without the pull, measured on a sample of its weights.

ρ = α · lr · steps / (1 − momentum) says how strong a pull is under SGD, and nothing under Adam,
whose steps are not proportional to the gradient. So the optimizer itself is asked: a second one of
the same class and state trains copies of about two thousand weights with the gradients as they were
before the pull. At the end of the period, how far the encoder went is compared with how far these
copies did.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import (
    ASGD,
    SGD,
    Adadelta,
    Adagrad,
    Adam,
    Adamax,
    AdamW,
    NAdam,
    Optimizer,
    RAdam,
    RMSprop,
    Rprop,
)

from inforeg_lightning.core._dtensor import is_sharded

_BY_ELEMENT = (SGD, Adam, AdamW, NAdam, RAdam, Adamax, RMSprop, Adagrad, Adadelta, ASGD, Rprop)
"""Optimizers that treat every weight by itself, so that a sample of them can be trained alone."""

_TENSORS, _ELEMENTS = 8, 256
"""At most so many parameters of an encoder, and so many weights of each."""


class FreeRun:
    """A copy of a sample of one encoder's weights, as one vector, trained without the pull.

    Args:
        optimizer: Of the encoder.
        parameters: Those of the encoder that it holds, when the period begins.
    """

    def __init__(self, optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> None:
        self._of = optimizer
        self._parameters = _sampled(optimizer, parameters)
        self._start = _values(self._parameters)
        self._copy = nn.Parameter(self._start.clone())
        self._optimizer = _like(optimizer, self._parameters, self._copy)
        self._free: Tensor | None = None
        self._pulled: Tensor | None = None

    @staticmethod
    def is_possible(optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> bool:
        """Whether the optimizer treats every weight by itself, and each is on this process."""
        return type(optimizer) in _BY_ELEMENT and not any(is_sharded(p) for p in parameters)

    def before_pull(self) -> None:
        """Keep the gradients as they are."""
        self._free = _gradients(self._parameters)

    def after_pull(self) -> None:
        """Keep them with the pull, to see later by how much they are clipped."""
        self._pulled = _gradients(self._parameters)

    def after_step(self, optimizer: Optimizer) -> None:
        """Make the step that the optimizer has just made, without the pull."""
        free, pulled = self._free, self._pulled
        if optimizer is not self._of or free is None or pulled is None:
            return
        self._free = self._pulled = None
        wide = pulled.double()
        clipped = torch.dot(_gradients(self._parameters).double(), wide) / torch.dot(wide, wide)
        clipped = torch.where(clipped.isfinite(), clipped, 1.0)
        self._copy.grad = free * clipped.to(free.dtype)
        self._optimizer.param_groups[0] |= _options(_group_of(optimizer, self._parameters[0]))
        self._optimizer.step()

    def ratio(self) -> float | None:
        """‖w − anchor‖ with the pull by that without it; ``None`` if nothing would have moved."""
        places = torch.stack([_values(self._parameters), self._copy.detach()]).double()
        squares = (places - self._start.double()).square().sum(dim=1)
        went, free = squares.tolist()  # the one time that the host waits
        return (went / free) ** 0.5 if free > 0 and went < float("inf") else None

    def state_dict(self) -> dict[str, Any]:
        """Copy, start, their optimizer and the ratio, in tensors and plain types."""
        state = self._optimizer.state[self._copy].items()
        return {
            "ratio": self.ratio(),
            "start": self._start.cpu(),
            "copy": self._copy.detach().cpu(),
            "state": {name: _saved(value) for name, value in state},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self._start = state["start"].to(self._copy.device)
        self._copy.data.copy_(state["copy"])
        own = self._optimizer.state[self._copy]
        for name, value in state["state"].items():
            # A step count stays where the optimizer keeps it, which may be the CPU.
            like = own.get(name, self._copy if _is_vector(value) else None)
            own[name] = value.to(like.device) if isinstance(like, Tensor) else value


def _sampled(optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> list[nn.Parameter]:
    """Some parameters that one group of the optimizer holds, with state of one kind."""
    first = parameters[0]
    group = {id(p) for p in _group_of(optimizer, first)["params"]}
    known = set(optimizer.state.get(first, {}))
    alike = [
        p
        for p in parameters
        if id(p) in group
        and set(optimizer.state.get(p, {})) == known
        and (p.dtype, p.device) == (first.dtype, first.device)
    ]
    return alike[:: max(len(alike) // _TENSORS, 1)][:_TENSORS]


def _sample(tensor: Tensor) -> Tensor:
    """A view of some elements: along the first dimension, in the middle of all others."""
    view = tensor.detach()
    while view.dim() > 1:
        view = view.select(-1, view.shape[-1] // 2)
    return view.reshape(-1)[:_ELEMENTS]


def _values(parameters: Sequence[nn.Parameter]) -> Tensor:
    return torch.cat([_sample(p) for p in parameters])


def _gradients(parameters: Sequence[nn.Parameter]) -> Tensor:
    return torch.cat(
        [torch.zeros_like(_sample(p)) if p.grad is None else _sample(p.grad) for p in parameters]
    )


def _group_of(optimizer: Optimizer, parameter: nn.Parameter) -> dict[str, Any]:
    return next(
        group
        for group in optimizer.param_groups
        if any(other is parameter for other in group["params"])
    )


def _like(
    optimizer: Optimizer, parameters: Sequence[nn.Parameter], copy: nn.Parameter
) -> Optimizer:
    """An optimizer of the same class, options and state for the copy of a sample."""
    make: Any = type(optimizer)
    own: Optimizer = make([{"params": [copy], **_options(_group_of(optimizer, parameters[0]))}])
    first = parameters[0]
    for name, value in optimizer.state.get(first, {}).items():
        if not isinstance(value, Tensor):
            own.state[copy][name] = value
        elif value.shape == first.shape and value.dim():
            own.state[copy][name] = torch.cat(
                [_sample(optimizer.state[p][name]) for p in parameters]
            )
        else:
            own.state[copy][name] = value.clone()
    return own


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _is_vector(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dim() > 0


def _saved(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, Tensor) else value
