"""Editing what is passed back through a tensor, without changing the tensor."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def attach_loss(output: Tensor, loss: Tensor, scale: float | Tensor) -> Tensor:
    """``output`` as it is; whoever passes a gradient back through it minimises ``loss`` too.

    So a term is added to a training loss that is not ours to return, in the same backward pass:
    under data parallelism its gradient is averaged with all others. Where the gradient that is
    passed back is not finite, that of ``loss`` is NaN, so that nobody takes the step for a sound
    one.

    Args:
        output: Any tensor that the training loss depends on.
        loss: Shape ``()``, with a graph.
        scale: The gradient that ``loss`` gets: what the training loss is multiplied by before its
            backward pass.

    Returns:
        Equal to ``output`` to the bit.
    """
    attached: Tensor = _AttachLoss.apply(output, loss, scale)
    return attached


def redirect(output: Tensor, terms: Sequence[Tensor], factors: Sequence[Tensor]) -> Tensor:
    """``output`` as it is; its gradient goes to ``terms`` instead, each times its own factor.

    Args:
        output: Any tensor.
        terms: Tensors of the same shape, whose sum ``output`` is up to rounding.
        factors: One for each term, shape ``()``; read when the gradient comes, and may be filled
            in place until then.

    Returns:
        Equal to ``output`` to the bit. What ``output`` was made of gets no gradient but through
        ``terms``.
    """
    redirected: Tensor = _Redirect.apply(output.detach(), tuple(factors), *terms)
    return redirected


def touch(output: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """``output`` as it is; whoever passes a gradient back gives ``parameters`` one of zero.

    Data parallelism waits in every step for the gradient of every parameter, and a parameter whose
    loss is left out in a step has none.

    Args:
        output: Any tensor that the training loss depends on.
        parameters: That get a gradient of zero besides their own.

    Returns:
        Equal to ``output`` to the bit.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    touched: Tensor = _Touch.apply(output, *trained) if trained else output
    return touched


class _AttachLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: Tensor, loss: Tensor, scale: float | Tensor) -> Tensor:
        ctx.scale, ctx.dtype, ctx.device = scale, loss.dtype, loss.device
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        scale = ctx.scale
        if not isinstance(scale, Tensor):
            # Filled, not copied: a copy would make the host wait for the device.
            scale = torch.full((), scale, dtype=ctx.dtype, device=ctx.device)
        sound = torch.isfinite(gradients[0]).all().to(scale.device)
        return gradients[0], torch.where(sound, scale, torch.nan).to(ctx.dtype), None


class _Redirect(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: Tensor, factors: tuple[Tensor, ...], *terms: Tensor) -> Tensor:
        ctx.factors, ctx.dtypes = factors, [term.dtype for term in terms]
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        parts = [
            (gradient.to(dtype) * factor).to(dtype)
            for factor, dtype in zip(ctx.factors, ctx.dtypes, strict=True)
        ]
        return None, None, *parts


class _Touch(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, output: Tensor, *parameters: Tensor) -> Tensor:
        ctx.parameters = parameters
        return output.view_as(output)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        return gradients[0], *(torch.zeros_like(parameter) for parameter in ctx.parameters)
