"""Pareto integration of a joint and a unimodal gradient (MMPareto, ICML 2024)."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from inforeg_lightning.core._numeric import at_least_float32
from inforeg_lightning.core.fisher import squared_norm


def pareto_weight(joint: Sequence[Tensor], unimodal: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """How the gradients of an encoder from two losses agree, and the weight of the first.

    Both count alike where they do not conflict (cosine >= 0). Where they do, the weights are those
    of the shortest vector between the two, which has a positive product with both: for two vectors
    a closed form, ``a = <u, u - j> / ||j - u||²``, and in conflict always inside (0, 1).

    Args:
        joint: Gradients of the encoder's parameters from the joint loss, any shapes.
        unimodal: From the unimodal loss, of the same shapes.

    Returns:
        Cosine of the angle between the two over the whole encoder, 0 if either is zero; and ``a``,
        the joint gradient's weight (the unimodal one's is ``1 - a``). Both of shape ``()``.
    """
    products = [
        (at_least_float32(j) * at_least_float32(u)).sum()
        for j, u in zip(joint, unimodal, strict=True)
    ]
    dot = torch.stack(products).sum()
    jj, uu = squared_norm(joint), squared_norm(unimodal)
    cosine = torch.where(jj * uu > 0, dot / (jj.sqrt() * uu.sqrt()), 0.0)
    return cosine, torch.where(dot < 0, (uu - dot) / (jj + uu - 2 * dot), 0.5)


def pareto_gradients(
    joint: Sequence[Tensor], unimodal: Sequence[Tensor], weight: Tensor, gamma: float
) -> list[Tensor]:
    """What the encoder is trained with, ``γ · max(1, ||j + u|| / ||h||) · h`` for each parameter.

    ``h = 2 a j + 2 (1 - a) u``, and the norms are those of the parameter's own gradients.

    Args:
        joint: Gradients of the encoder's parameters from the joint loss, any shapes.
        unimodal: From the unimodal loss, of the same shapes.
        weight: That of the joint gradient, ``a``, shape ``()``.
        gamma: Factor of the result, ``γ``.

    Returns:
        Gradients of the same shapes; zero where ``h`` is.
    """
    mixed = list(torch._foreach_mul(list(joint), (2 * weight).to(joint[0].dtype)))
    torch._foreach_add_(
        mixed, torch._foreach_mul(list(unimodal), 2 - 2 * weight.to(mixed[0].dtype))
    )
    norms = _norms(mixed)
    sums = _norms(torch._foreach_add(list(joint), list(unimodal)))
    factors = gamma * torch.where(norms > 0, sums / norms, 1.0).clamp(min=1)
    torch._foreach_mul_(mixed, list(factors.unbind()))
    return mixed


def _norms(gradients: Sequence[Tensor]) -> Tensor:
    # At least float32: half-precision squares overflow.
    dtype = reduce(torch.promote_types, {g.dtype for g in gradients}, torch.float32)
    return torch.stack(list(torch._foreach_norm(list(gradients), 2, dtype)))
