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
    """Copies of a sample of one encoder's weights, trained without the pull.

    Args:
        optimizer: Of the encoder.
        parameters: Those of the encoder that it holds, when the period begins.
    """

    def __init__(self, optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> None:
        step = max(len(parameters) // _TENSORS, 1)
        self._parameters = [*parameters][::step][:_TENSORS]
        self._starts = [_sample(p).clone() for p in self._parameters]
        self._copies = [nn.Parameter(start.clone()) for start in self._starts]
        self._optimizer = _like(optimizer, self._parameters, self._copies)
        self._of = optimizer
        self._free: list[Tensor] = []
        self._pulled: list[Tensor] = []

    @staticmethod
    def is_possible(optimizer: Optimizer, parameters: Sequence[nn.Parameter]) -> bool:
        """Whether the optimizer treats every weight by itself, and each is on this process."""
        return type(optimizer) in _BY_ELEMENT and not any(is_sharded(p) for p in parameters)

    def before_pull(self) -> None:
        """Keep the gradients as they are."""
        self._free = [_gradient(p).clone() for p in self._parameters]

    def after_pull(self) -> None:
        """Keep them with the pull, to see later by how much they are clipped."""
        self._pulled = [_gradient(p).clone() for p in self._parameters]

    def after_step(self, optimizer: Optimizer) -> None:
        """Make the step that the optimizer has just made, without the pull."""
        if optimizer is not self._of or not self._free:
            return
        done = [_gradient(p) for p in self._parameters]
        clipped = _dot(done, self._pulled) / _dot(self._pulled, self._pulled)
        clipped = torch.where(clipped.isfinite(), clipped, 1.0)
        for copy, gradient in zip(self._copies, self._free, strict=True):
            copy.grad = gradient * clipped.to(gradient.dtype)
        groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
        for parameter, own in zip(self._parameters, self._optimizer.param_groups, strict=True):
            own |= _options(groups[id(parameter)])
        self._optimizer.step()
        self._free, self._pulled = [], []

    def ratio(self) -> float | None:
        """‖w − anchor‖ with the pull by that without it; ``None`` if nothing would have moved."""
        there = [_sample(p) for p in self._parameters]
        copies = [copy.detach() for copy in self._copies]
        distances = [_distance(where, self._starts) for where in (there, copies)]
        went, free = torch.stack(distances).tolist()  # the one time that the host waits
        return (went / free) ** 0.5 if free > 0 and went < float("inf") else None

    def state_dict(self) -> dict[str, Any]:
        """Copies, starts, their optimizer and the ratio, in tensors and plain types."""
        return {
            "ratio": self.ratio(),
            "starts": [start.cpu() for start in self._starts],
            "copies": [copy.detach().cpu() for copy in self._copies],
            "states": [
                {name: _saved(value) for name, value in self._optimizer.state[copy].items()}
                for copy in self._copies
            ],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        for index, copy in enumerate(self._copies):
            self._starts[index] = state["starts"][index].to(copy.device)
            copy.data.copy_(state["copies"][index])
            # A step count stays where the optimizer keeps it, which may be the CPU.
            own = self._optimizer.state[copy]
            for name, value in state["states"][index].items():
                like = own.get(name)
                own[name] = value.to(like.device) if isinstance(like, Tensor) else value


def _sample(tensor: Tensor) -> Tensor:
    """A view of some elements: along the first dimension, in the middle of all others."""
    view = tensor.detach()
    while view.dim() > 1:
        view = view.select(-1, view.shape[-1] // 2)
    return view.reshape(-1)[:_ELEMENTS]


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        return torch.zeros_like(_sample(parameter))
    return _sample(parameter.grad)


def _like(
    optimizer: Optimizer, parameters: Sequence[nn.Parameter], copies: Sequence[nn.Parameter]
) -> Optimizer:
    """An optimizer of the same class, options and state for copies of samples."""
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    make: Any = type(optimizer)
    own: Optimizer = make(
        [
            {"params": [copy], **_options(groups[id(p)])}
            for p, copy in zip(parameters, copies, strict=True)
        ]
    )
    for parameter, copy in zip(parameters, copies, strict=True):
        own.state[copy] = {
            name: _sampled_like(value, parameter)
            for name, value in optimizer.state.get(parameter, {}).items()
        }
    return own


def _options(group: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in group.items() if name != "params"}


def _sampled_like(value: Any, parameter: nn.Parameter) -> Any:
    if not isinstance(value, Tensor):
        return value
    return (
        _sample(value).clone() if value.shape == parameter.shape and value.dim() else value.clone()
    )


def _saved(value: Any) -> Any:
    return value.detach().cpu() if isinstance(value, Tensor) else value


def _dot(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> Tensor:
    return torch.stack(
        [(a.double() * b.double()).sum() for a, b in zip(ours, theirs, strict=True)]
    ).sum()


def _distance(there: Sequence[Tensor], starts: Sequence[Tensor]) -> Tensor:
    """The squared distance."""
    parts = [a.double() - b.double() for a, b in zip(there, starts, strict=True)]
    return torch.stack([part.square().sum() for part in parts]).sum()
