"""AlternatingGreedy: a late-fusion translation of Greedy (ICML 2022, arXiv 2202.05306)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from inforeg_lightning.core.fisher import squared_norm
from inforeg_lightning.core.greedy import relative_square
from inforeg_lightning.engine.book.state import Lifetime, moved
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import (
    check_count,
    check_number,
    check_one_optimizer,
    check_unsharded,
)
from inforeg_lightning.engine.context import Context, Forward
from inforeg_lightning.engine.encoder import gradients_of
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.engine.probe.head import HeadCall, plain_linear
from inforeg_lightning.methods._running_mean import RunningMeans, by_sample
from inforeg_lightning.methods._speeds import as_vector, next_balance


class AlternatingGreedy(Method):
    """Train the modality whose encoder lags alone for some steps: our late-fusion Greedy.

    See :class:`~inforeg_lightning.callbacks.AlternatingGreedyCallback` for the equations, and for
    what ``history`` holds.

    Args:
        tolerance: How far the speeds may lie apart, ``α`` in the paper, >= 0; authors' code: 0.01.
        steps: For how many steps a modality is trained alone, ``Q``, > 0; authors' code: 5.
        window: When it acts; by default, as in the authors' code, after the first epoch.

    Raises:
        ValueError: An argument is out of range.
        TypeError: ``tolerance`` is no number.
    """

    name = "alternating_greedy"
    quantities = ("speed", "alone")
    edits_head = True

    means: RunningMeans
    balance: Mapping[str, Tensor] | None
    """The fields of a :class:`~inforeg_lightning.core.greedy.Balance`."""
    _columns: dict[str, list[slice]] | None

    def __init__(
        self,
        tolerance: float = 0.01,
        steps: int = 5,
        window: WindowArgument = (1, None),
    ) -> None:
        super().__init__(window)
        self.tolerance = check_number(
            "tolerance", tolerance, 0, float("inf"), " (the authors use 0.01)"
        )
        self.steps = check_count("steps", steps, "optimiser steps")
        self.add_state("means", RunningMeans, Lifetime.FIT, saved="always")
        self.add_state("balance", None, Lifetime.FIT, saved="always")
        self.add_state("_columns", dict, Lifetime.FIT)

    @property
    def settings(self) -> dict[str, object]:
        """Tolerance, steps and window."""
        return {"tolerance": self.tolerance, "steps": self.steps, "window": self.window}

    def attach(self, context: Context) -> None:
        """Check optimiser and parameters; take what a checkpoint holds to the device."""
        super().attach(context)
        check_one_optimizer(context.optimizers, context.name)
        check_unsharded(context.encoders, context.name)
        if self.balance is not None:
            self.balance = moved(self.balance, context.device)

    def forward(self, forward: Forward) -> Tensor:
        """Run the head for means in the place of all others, where one is trained alone."""
        call = forward.call
        features = {modality: parts for modality, parts in call.features().items() if parts}
        means = self.means.of(features)
        self.means.add(features, forward.present)
        self._learn_columns(call)
        in_window = self.context.in_window
        if self.balance is None or not means or not any(in_window.values()):
            return forward.output
        has = {m: in_window[m] and m in features for m in self.context.modalities}
        alone = self.balance["alone"] & as_vector(has, self.balance["alone"])
        for index, modality in enumerate(self.context.modalities):
            if modality in forward.present:
                one = torch.arange(len(alone), device=alone.device) == index
                alone = alone & (forward.present[modality].any() | ~one)
        others = dict(zip(self.context.modalities, (alone.any() & ~alone).unbind(), strict=True))
        blended = {
            modality: [
                _replaced(
                    part,
                    means[modality][index] if modality in means else None,
                    others[modality],
                    forward.present.get(modality),
                )
                for index, part in enumerate(parts)
            ]
            for modality, parts in features.items()
        }
        return call.with_features(blended)

    def edit(self, step: Step) -> Done:
        """Measure the speeds, and choose whom the next steps train alone; edit nothing."""
        like = next(iter(step.squared_norms.values()))
        before, after = next_balance(
            step, self.balance, self._fusion_squares(like), self.tolerance, self.steps
        )
        self.balance = dict(vars(after))
        self.means.fold(step.modalities, self.context.processes, step.finite)
        alone = before.alone & step.present
        return {"speed": after.speeds(), "alone": alone.to(like.dtype)}

    def _learn_columns(self, call: HeadCall) -> None:
        """Note which columns of a linear head take the features of which modality.

        A modality that a batch does not have keeps the columns of an earlier one. A batch with one
        modality alone does not tell: all that is in the head's input is taken to be that one's.
        """
        blocks = call.layout.blocks[0]
        if plain_linear(call.head) is None or blocks is None or blocks.dim != -1:
            self._columns = None
        elif len(call.present) > 1:
            found = {m: blocks.columns(m) for m in call.present}
            self._columns = (self._columns or {}) | found

    def _fusion_squares(self, like: Tensor) -> Tensor:
        """``‖g‖² / ‖w‖²`` of the fusion weights of each modality, shape ``(M,)``, or NaN."""
        head, modalities = self.context.head, self.context.modalities
        assert head is not None
        linear = plain_linear(head)
        if linear is None or self._columns is None:
            held = [p for p in head.parameters() if p.grad is not None]
            if not held:
                return like.new_zeros(len(modalities))
            square = relative_square(squared_norm(gradients_of(held)), squared_norm(held))
            return square.to(like.dtype).expand(len(modalities))
        weight, gradient = linear.weight.detach(), linear.weight.grad
        if gradient is None:
            return like.new_zeros(len(modalities))
        unknown = torch.full_like(like, torch.nan)
        squares = [
            relative_square(
                squared_norm([gradient[:, part] for part in self._columns[m]]),
                squared_norm([weight[:, part] for part in self._columns[m]]),
            )
            if m in self._columns
            else unknown
            for m in modalities
        ]
        return torch.stack([square.to(like.dtype) for square in squares])


def _replaced(part: Tensor, mean: Tensor | None, replace: Tensor, present: Tensor | None) -> Tensor:
    """A part of the features as the head is to see it.

    Args:
        part: Shape ``(B, ...)``.
        mean: Of all samples, shape ``(...)``; ``None`` or not finite before there was one.
        replace: Whether it is to be replaced, shape ``()``, bool.
        present: Which samples have the modality, ``None``: all. What stands in the place of a
            missing one stays, and only its graph is cut.
    """
    constant = part.detach()
    if mean is not None:
        new = torch.where(mean.isfinite(), mean.to(part.dtype), constant)
        constant = new if present is None else torch.where(by_sample(present, part), new, constant)
    return torch.where(replace, constant, part)
