"""The regulation: a pull of an encoder towards its weights at the start of the period (Eq. 12)."""

from collections.abc import Iterator, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from inforeg_lightning.core._dtensor import local_parts, sum_over_parts

_CHUNK_ELEMENTS = 1 << 21
"""Weights handled at once, 8 MB in float32. ``w − anchor`` needs memory of its own; in chunks it is
a few megabytes instead of another copy of the encoder, and stays in a processor's cache."""


@torch.no_grad()
def pull(
    parameters: Sequence[nn.Parameter],
    gradients: Sequence[Tensor],
    anchors: Sequence[Tensor],
    alpha: Tensor,
) -> Tensor:
    """Add the gradient of ``P = (α/2)‖w − w^{t−1}‖²`` to ``gradients``, in place.

    ``grad += α (w − anchor)`` is the gradient that autograd would return for the penalty, without a
    second pass through the network (Eq. 12, its sum in Eq. 26).

    Args:
        parameters: Weights of the encoder.
        gradients: Their gradients, same shapes, changed in place.
        anchors: Their values when the period began, same shapes.
        alpha: Strength ``α``, shape ``()``, on the device of the parameters.

    Returns:
        The penalty ``P``, shape ``()``, the wider of the dtypes of ``alpha`` and the parameters.
    """
    squares: list[Tensor] = []
    weights, starts, targets = map(local_parts, (parameters, anchors, gradients))
    dtype = reduce(torch.promote_types, {weight.dtype for weight in weights}, alpha.dtype)
    for part in _chunks(weights):
        difference = torch._foreach_sub(weights[part], starts[part])
        norms = torch._foreach_norm(difference, 2, dtype)
        squares.append(torch.stack(list(norms)).square())
        torch._foreach_mul_(difference, alpha.to(difference[0].dtype))
        torch._foreach_add_(targets[part], difference)
    return 0.5 * alpha * sum_over_parts(torch.cat(squares), parameters).sum()


def _chunks(parameters: Sequence[Tensor]) -> Iterator[slice]:
    start, elements = 0, 0
    for index, parameter in enumerate(parameters):
        if index > start and elements + parameter.numel() > _CHUNK_ELEMENTS:
            yield slice(start, index)
            start, elements = index, 0
        elements += parameter.numel()
    yield slice(start, len(parameters))
