"""Jacobian descent on one encoder: an aggregator puts one gradient in the place of several."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Aggregator = Callable[[Tensor], Tensor]
"""``(L, P) -> (P,)``: the Jacobian of L losses, a row each, to the gradient that is stepped by."""


def aggregated(
    aggregator: Aggregator, gradients: Sequence[Sequence[Tensor]], counts: Tensor
) -> list[Tensor]:
    """What an aggregator makes of the gradients of several losses.

    Args:
        aggregator: As those of TorchJD.
        gradients: Of each loss, for the same parameters.
        counts: Whether the result is used, shape ``()``, bool; if not, the aggregator is given
            zeros, since many refuse what is not finite.

    Returns:
        One gradient for each parameter.

    Raises:
        ValueError: The aggregator returns something else than a vector of P.
    """
    rows = torch.stack([torch.cat([g.flatten() for g in of]) for of in gradients])
    jacobian = torch.where(counts, rows, 0.0)
    found = aggregator(jacobian)
    if not isinstance(found, Tensor) or found.shape != jacobian.shape[1:]:
        shape = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise ValueError(
            f"`aggregator` must return a vector of {jacobian.shape[1]} for a Jacobian of shape "
            f"{tuple(jacobian.shape)}, but returned {shape}"
        )
    like = gradients[0]
    parts = torch.split(found.detach(), [g.numel() for g in like])
    return [part.view_as(g).to(g.dtype) for part, g in zip(parts, like, strict=True)]
