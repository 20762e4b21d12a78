"""The trace of the Fisher information of an encoder, from its gradients (Eq. 5 to 7)."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from inforeg_lightning.core._dtensor import local_parts, sum_over_parts


def squared_norm(gradients: Sequence[Tensor]) -> Tensor:
    """Squared Euclidean norm of an encoder's gradient, one step's contribution to ``Tr(F)``.

    The paper's trace is ``Tr(F_m) = E‖∇_{w_m} L‖²``; in practice the mean over an epoch's steps of
    this number for the gradient of the batch.

    Args:
        gradients: Gradients of the encoder's parameters, any shapes, one device; of sharded ones
            the parts of all processes count.

    Returns:
        Shape ``()``; float64 for float64 gradients, else float32 (half-precision squares overflow).
    """
    return _squares(gradients).sum()


def mean_square(gradients: Sequence[Tensor]) -> Tensor:
    """Sum over layers of the *mean* squared gradient: the published code's ``trace`` of a step.

    Args:
        gradients: One gradient a layer (the weights of Conv and Linear layers), any shapes.

    Returns:
        Shape ``()``; float64 for float64 gradients, else float32.
    """
    squares = list(_squares(gradients).unbind())
    # The sizes as numbers: a tensor made of them would make the host wait for the device.
    sizes = [float(gradient.numel()) for gradient in gradients]
    return torch.stack(list(torch._foreach_div(squares, sizes))).sum()


def relative_change(newest: float, previous: float) -> float:
    """``(newest − previous) / newest``, the relative change of the trace (Eq. 11), always finite.

    Args:
        newest: Trace of the period just ended, ``>= 0``.
        previous: Trace of the period before it, ``>= 0``.

    Returns:
        At most 1. A newest trace of zero gives 0.0: there is nothing to be relative to and no sign
        of rising information. A change too negative for a float is the most negative float.
    """
    if newest == 0.0:
        return 0.0
    change = 1.0 - previous / newest
    return change if change > -1e308 else -1e308


def _squares(gradients: Sequence[Tensor]) -> Tensor:
    dtype = reduce(torch.promote_types, {g.dtype for g in gradients}, torch.float32)
    norms = torch._foreach_norm(local_parts(gradients), 2, dtype)
    return sum_over_parts(torch.stack(list(norms)).square(), gradients)
