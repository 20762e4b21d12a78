"""MMPareto: Pareto integration of joint and unimodal gradients (ICML 2024, arXiv 2405.17730)."""

from collections.abc import Mapping, Sequence
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.strategies import Strategy
from torch import Tensor, nn

from inforeg_lightning.callbacks.checks import check_unsharded
from inforeg_lightning.callbacks.head import HeadCall
from inforeg_lightning.callbacks.layout import nodes_of
from inforeg_lightning.callbacks.method import WindowArgument
from inforeg_lightning.callbacks.tracker import Step, gradients_of
from inforeg_lightning.callbacks.unimodal import Target
from inforeg_lightning.callbacks.unimodal_loss import UnimodalLossCallback
from inforeg_lightning.core.graph import attach_loss
from inforeg_lightning.core.pareto import pareto_gradients, pareto_weight


class MMParetoCallback(UnimodalLossCallback):
    r"""Add unimodal losses, and let no encoder's step go against either loss (Wei & Hu, ICML 2024).

    With :math:`g` the gradient of the joint loss for the encoder of m and :math:`u` that of its
    unimodal loss, the cross-entropy of its unimodal logits, the encoder is trained with

    .. math:: \gamma \max\left(1, \frac{\lVert g + u \rVert}{\lVert h \rVert}\right) h, \qquad
        h = 2 a g + 2 (1 - a) u, \qquad
        a = \begin{cases} 1/2 & \cos(g, u) \ge 0 \\
        \arg\min_a \lVert a g + (1 - a) u \rVert & \text{else} \end{cases}

    As in the authors' code, cosine and a are of the encoder as a whole, the norms of each parameter
    by itself. The head is trained with the sum of all losses. A modality outside its window has no
    unimodal loss, and its encoder keeps its gradient; M > 2 is the same formula.

    One more backward pass through each encoder in its window, and one copy of these encoders'
    gradients between the steps (two more while a step is edited).

    Different from the authors' code: the unimodal gradient is subtracted from that of all losses,
    instead of one backward pass a loss, so that it is exact to rounding; the minimum is its closed
    form for two vectors, without clipping (theirs, at 0.001 and 0.999, is out of reach in conflict)
    and without a solver, which would make the host wait for the device; a cosine of exactly 0 is no
    conflict, as in the paper. Whatever else the module's loss holds counts as joint. Sharded
    parameters (FSDP2) are refused, and so are, at the first step, encoders whose graph cannot be
    gone through twice.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the fusion head.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; the paper: always.
        gamma: Factor of the encoders' gradients, > 0; the authors' 1.5.
        unimodal_losses_included: Whether the module's own loss has the unimodal losses already,
            each with weight 1; they are then not added again.
        K: Threshold of the windows that have one.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict a period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace`` (of the gradient of all losses), ``change``, ``in_window``,
            ``score`` (mean log-probability of the true class), ``unimodal_loss`` (minus that), and
            ``cosine`` and ``weight``, means over the steps of the cosine and of a; ``None`` where
            it did not act. Logged under ``mmpareto/<quantity>/<modality>``.

    Raises:
        ValueError: An argument is out of range, the module's ``unimodal_losses`` is not what
            ``unimodal_losses_included`` says, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        TypeError: An argument is of another kind than described.
    """

    _prefix = "mmpareto"
    _quantities = ("cosine", "weight", "unimodal_loss")

    _strategy: Strategy | None = None
    _losses: dict[str, Tensor]
    _gradients: dict[nn.Parameter, Tensor]

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        target: Target = None,
        window: WindowArgument = "always",
        gamma: float = 1.5,
        unimodal_losses_included: bool = False,
        K: float = 0.04,
        period: int | str = "epoch",
        combine: bool = False,
    ) -> None:
        if not 0 < gamma < float("inf"):
            raise ValueError(f"`gamma` must be positive (the authors: 1.5), but is {gamma}")
        super().__init__(
            encoders, head, target, window, unimodal_losses_included, K, period, combine
        )
        self.gamma = gamma

    def _edit_output(self, call: HeadCall, output: Tensor, target: Tensor) -> Tensor:
        self._losses = self._unimodal_losses(call, target)
        if self.unimodal_losses_included or not self._losses:
            return output
        return attach_loss(output, torch.stack([*self._losses.values()]).sum(), self._loss_scale)

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Go backward through each encoder from its unimodal loss alone."""
        super().on_before_backward(trainer, pl_module, loss)
        losses, self._losses = self._losses, {}
        scaler = getattr(trainer.precision_plugin, "scaler", None)
        for modality, unimodal_loss in losses.items():
            parameters = [p for p in self._tracker.encoders[modality].parameters if p.requires_grad]
            if not parameters or not unimodal_loss.requires_grad:
                continue
            if modality not in self._checked:
                _refuse_reentrant(modality, unimodal_loss)
                self._checked.add(modality)
            for parameter, gradient in _backward(unimodal_loss, parameters, self._loss_scale):
                if scaler is not None:  # the Trainer unscales .grad only
                    gradient = gradient / scaler.scale(torch.ones_like(loss))
                before = self._gradients.get(parameter)
                self._gradients[parameter] = gradient if before is None else before + gradient

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Let go of the batch's graph."""
        super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
        self._losses = {}

    def _edit(self, step: Step) -> Mapping[str, Tensor | Mapping[str, Tensor]]:
        undefined = torch.full_like(step.scores[0], torch.nan)
        outside = {m: undefined for m in step.modalities if not step.in_window[m]}
        done = {"cosine": dict(outside), "weight": dict(outside)}
        for modality, held in step.held.items():
            if step.in_window[modality]:
                gradients = gradients_of(held)
                unimodal = self._over_processes(held)
                joint = list(torch._foreach_sub(gradients, unimodal))
                cosine, weight = pareto_weight(joint, unimodal)
                edited = pareto_gradients(joint, unimodal, weight, self.gamma)
                for gradient, new in zip(gradients, edited, strict=True):
                    gradient.copy_(torch.where(step.finite, new, gradient))
                done["cosine"][modality], done["weight"][modality] = cosine, weight
        return done | {"unimodal_loss": -step.scores}

    def _over_processes(self, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
        """The unimodal gradients as DDP averages all others; zeros where the loss has none."""
        assert self._strategy is not None
        taken = [(p, self._gradients.pop(p, None)) for p in parameters]
        mine = [torch.zeros_like(p) if gradient is None else gradient for p, gradient in taken]
        if self._world_size == 1:
            return mine
        flat = self._strategy.reduce(torch.cat([g.flatten() for g in mine]), reduce_op="mean")
        parts = flat.split([p.numel() for p in parameters])
        return [part.view_as(p) for part, p in zip(parts, parameters, strict=True)]

    def _attach(self, trainer: L.Trainer) -> None:
        super()._attach(trainer)
        self._checked: set[str] = set()
        check_unsharded(self._tracker.encoders, type(self).__name__)
        self._strategy, self._world_size = trainer.strategy, trainer.world_size

    def _detach(self) -> None:
        super()._detach()
        self._strategy = None

    def _forget_batch(self) -> None:
        super()._forget_batch()
        self._losses = {}

    def _forget_step(self) -> None:
        super()._forget_step()
        self._gradients = {}


def _backward(
    loss: Tensor, parameters: Sequence[nn.Parameter], scale: float | Tensor
) -> list[tuple[nn.Parameter, Tensor]]:
    """The parameters that the loss depends on, and its gradient for them times a scale."""
    # Filled, not copied: a copy would make the host wait for the device.
    seed = scale if isinstance(scale, Tensor) else torch.full_like(loss, scale)
    try:
        gradients = torch.autograd.grad(
            loss, parameters, seed.to(loss.dtype), retain_graph=True, allow_unused=True
        )
    except RuntimeError as error:
        raise RuntimeError(
            "MMParetoCallback goes backward through each encoder twice, which this one does not "
            f"allow: {error} For an encoder under torch.compile, set "
            "torch._functorch.config.donated_buffer = False before it is compiled."
        ) from error
    return [(p, g) for p, g in zip(parameters, gradients, strict=True) if g is not None]


def _refuse_reentrant(modality: str, loss: Tensor) -> None:
    # Its inside is no part of the graph: the parameters there would seem not to matter to the loss.
    if any(node.name() == "CheckpointFunctionBackward" for node in nodes_of(loss.grad_fn)):
        raise ValueError(
            f"`encoders[{modality!r}]` is checkpointed with use_reentrant=True, through which the "
            "gradient of one loss alone cannot be taken. Use checkpoint(..., use_reentrant=False)."
        )
