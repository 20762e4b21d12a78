"""Greedy: balanced learning by the conditional learning speed (ICML 2022, arXiv 2202.05306)."""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import accumulate
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor

from inforeg_lightning.callbacks.base import sum_over_processes
from inforeg_lightning.callbacks.checks import check_one_optimizer, check_unsharded
from inforeg_lightning.callbacks.head import HeadCall, plain_linear
from inforeg_lightning.callbacks.method import MethodCallback, WindowArgument
from inforeg_lightning.callbacks.running_mean import RunningMeans
from inforeg_lightning.callbacks.tracker import Step, gradients_of
from inforeg_lightning.callbacks.unimodal import Target
from inforeg_lightning.core.fisher import squared_norm
from inforeg_lightning.core.learning_speed import Balance, relative_square


class GreedyCallback(MethodCallback):
    r"""Train the modality whose encoder lags alone for some steps (Wu et al., ICML 2022).

    The conditional learning speed of a modality compares the weights through which the network
    uses it with those that learn it, over all steps i so far:

    .. math:: s_m = \log_{10} \sum_i \mu(w^{fusion}_m; i) - \log_{10} \sum_i \mu(w_m; i),
        \qquad \mu(w; i) = \lVert g_i \rVert^2 / \lVert w_i \rVert^2

    When the speeds lie further apart than ``tolerance``, the next ``steps`` steps train the
    modality of the highest alone: the features of all others are replaced by their running mean,
    so that their encoders get a gradient of zero. Those steps are not measured.

    The paper's network has modules for the exchange between its encoders (MMTM), and cuts the
    exchange into the lagging one. A late-fusion network has none. Translated (this is ours): the
    fusion weights of m are the columns of a linear head that take the features of m, for other
    heads all their weights, shared by all modalities as the authors share theirs; and what is cut
    is what the head sees of the others. More than two modalities, which the paper does not treat,
    are compared by the highest and the lowest speed.

    One more run of the head in each step of the window, in the mode it is in: a head with dropout
    draws twice. A mean of the features in memory.

    The authors' running mean includes the batch it replaces, ours ends with the step before.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder.
        head: Attribute path of the fusion head.
        target: Where the class indices stand in the batch, as for
            :class:`~inforeg_lightning.InfoRegCallback`.
        window: When it acts, as for :class:`~inforeg_lightning.InfoRegCallback`; by default, as in
            the authors' code, after the first epoch. Speeds are measured from the start.
        tolerance: How far the speeds may lie apart, ``α`` in the paper, >= 0; authors' code: 0.01.
        steps: For how many steps a modality is trained alone, ``Q``, > 0; authors' code: 5.
        K: Threshold of the windows that have one.
        period: ``"epoch"`` or a number of optimiser steps: what windows and history count in.
        combine: Allow another method on the same Trainer; both must allow it.

    Attributes:
        history: One plain dict a period, as that of :class:`~inforeg_lightning.InfoRegCallback`;
            by modality ``trace``, ``change``, ``in_window``, ``score``, ``speed`` (mean s) and
            ``alone`` (share of the steps that trained it alone). Logged under ``greedy/…``.

    Raises:
        ValueError: An argument is out of range, there are several optimisers, parameters are
            sharded, the features change their shape from batch to batch, or as for
            :class:`~inforeg_lightning.InfoRegCallback`.
    """

    _prefix = "greedy"
    _quantities = ("speed", "alone")
    _edits_head = True

    _balance: Balance | None
    _columns: dict[str, list[slice]] | None
    _means: RunningMeans

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        target: Target = None,
        window: WindowArgument = (1, None),
        tolerance: float = 0.01,
        steps: int = 5,
        K: float = 0.04,
        period: int | str = "epoch",
        combine: bool = False,
    ) -> None:
        if not 0 <= tolerance < float("inf"):
            raise ValueError(
                f"`tolerance` must be 0 or more (the authors use 0.01), but is {tolerance}"
            )
        if not (type(steps) is int and steps > 0):
            raise ValueError(f"`steps` must be a positive number of steps, but is {steps!r}")
        super().__init__(encoders, head, target, window, "log_prob", K, period, combine)
        self.tolerance = tolerance
        self.steps = steps
        self._reset()

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Check what the shared base does not."""
        super().on_fit_start(trainer, pl_module)
        check_one_optimizer(trainer, type(self).__name__)

    def _edit_output(self, call: HeadCall, output: Tensor, target: Tensor) -> Tensor:
        features = call.features()
        means = self._means.of(features)
        self._means.add(features)
        self._columns = _columns_of(call)
        if self._balance is None or means is None or not any(self._tracker.in_window.values()):
            return output
        alone = self._balance.alone & self._in_window(self._balance.alone)
        others = alone.any() & ~alone
        blended = {
            modality: [
                torch.where(others[index], mean.to(part.dtype), part)
                for mean, part in zip(means[modality], parts, strict=True)
            ]
            for index, (modality, parts) in enumerate(features.items())
        }
        return call.with_features(blended)

    def _edit(self, step: Step) -> Mapping[str, Tensor | Mapping[str, Tensor]]:
        like = next(iter(step.squared_norms.values()))
        if self._balance is None:
            self._balance = Balance.start(len(step.modalities), like)
        before = self._balance
        zero = torch.zeros_like(like)
        encoder = torch.stack(
            [
                relative_square(step.squared_norms[m], squared_norm(step.held[m]))
                if m in step.held
                else zero
                for m in step.modalities
            ]
        )
        self._balance = before.after(
            self._fusion_squares(like),
            encoder,
            step.finite,
            self._in_window(before.alone),
            self.tolerance,
            self.steps,
        )
        self._means.fold(self._add_up, step.finite)
        return {"speed": self._balance.speeds(), "alone": before.alone.to(like.dtype)}

    def _in_window(self, like: Tensor) -> Tensor:
        # One by one: a tensor made of a list would make the host wait for the device.
        inside = [self._tracker.in_window[m] for m in self.modalities]
        return torch.stack([torch.full_like(like[0], x) for x in inside])

    def _fusion_squares(self, like: Tensor) -> Tensor:
        """``‖g‖² / ‖w‖²`` of the fusion weights of each modality, shape ``(M,)``."""
        assert self._probe is not None
        linear = plain_linear(self._probe.head)
        if linear is None or self._columns is None:
            held = [p for p in self._probe.head.parameters() if p.grad is not None]
            if not held:
                return like.new_zeros(len(self.modalities))
            square = relative_square(squared_norm(gradients_of(held)), squared_norm(held))
            return square.to(like.dtype).expand(len(self.modalities))
        weight, gradient = linear.weight.detach(), linear.weight.grad
        if gradient is None:
            return like.new_zeros(len(self.modalities))
        squares = [
            relative_square(
                squared_norm([gradient[:, part] for part in self._columns[m]]),
                squared_norm([weight[:, part] for part in self._columns[m]]),
            )
            for m in self.modalities
        ]
        return torch.stack(squares).to(like.dtype)

    def _attach(self, trainer: L.Trainer) -> None:
        super()._attach(trainer)
        check_unsharded(self._tracker.encoders, type(self).__name__)
        if self._balance is not None:  # from a checkpoint
            first = self._tracker.encoders[self.modalities[0]].parameters[0]
            self._balance = self._balance.to(first)
        self._add_up = partial(sum_over_processes, trainer)

    def _reset(self) -> None:
        super()._reset()
        self._balance = None
        self._columns = None
        self._means = RunningMeans(type(self).__name__)

    def _method_state(self, inside: bool) -> dict[str, Any]:
        balance = (
            None
            if self._balance is None
            else {name: value.cpu() for name, value in vars(self._balance).items()}
        )
        return {"balance": balance, "means": self._means.state_dict()}

    def _load_method_state(self, state: Mapping[str, Any]) -> None:
        self._balance = None if state["balance"] is None else Balance(**state["balance"])
        self._means.load_state_dict(state["means"])


def _columns_of(call: HeadCall) -> dict[str, list[slice]] | None:
    """Which columns of a linear head take the features of which modality."""
    blocks = call.layout.blocks[0]
    if plain_linear(call.head) is None or blocks is None or blocks.dim != -1:
        return None
    ends = [*accumulate(blocks.widths)]
    columns: dict[str, list[slice]] = {modality: [] for modality in call.modalities}
    for owner, width, end in zip(blocks.owners, blocks.widths, ends, strict=True):
        if owner is not None:
            columns[owner].append(slice(end - width, end))
    return columns
