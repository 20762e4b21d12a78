"""The (micro-)batch that is open, and what a method does to it at the head."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from inforeg_lightning.core._autograd import touch
from inforeg_lightning.engine.context import Forward, HeadInputs
from inforeg_lightning.engine.method import Method
from inforeg_lightning.engine.probe.head import HeadCall
from inforeg_lightning.engine.unimodal_heads import UnimodalHeads

Reported = tuple[Mapping[str, Tensor], Tensor, Mapping[str, Tensor]]
"""Unimodal logits, the target, and which samples have which modality."""


class Batch:
    """The batch between its beginning and its end."""

    def __init__(self) -> None:
        self.reported: list[Reported] = []
        """What a training step has reported of it and nobody has taken."""
        self.target: Tensor | None = None
        self.present: Mapping[str, Tensor] = {}
        self.is_open = False
        self.awaits_scores = False
        """Whether its scores have still to be added."""

    def open(self, target: Tensor | None, present: Mapping[str, Tensor]) -> None:
        """Begin one."""
        self.is_open = self.awaits_scores = True
        self.target, self.present = target, present

    def close(self) -> None:
        """Let go of it."""
        self.reported.clear()
        self.target, self.present = None, {}
        self.is_open = self.awaits_scores = False


class AtHead:
    """What a method does to the head's inputs and output, inside the forward pass of a batch.

    Args:
        method: The method.
        heads: The unimodal heads beside it.
        batch: The batch, whose target the method is given.
        ignore_index: The target that counts nowhere.
        name: Who the user constructed, for messages.
    """

    def __init__(
        self,
        method: Method,
        heads: UnimodalHeads,
        batch: Batch,
        ignore_index: float,
        name: str,
    ) -> None:
        self.refuses_early_backward = False
        """Whether a backward pass before the scores is an error, for methods that edit the head."""
        self._method = method
        self._heads = heads
        self._batch = batch
        self._ignore_index = ignore_index
        self._name = name

    def replace_inputs(self, call: HeadCall) -> list[Any] | None:
        """The inputs that the head is to see, flattened; ``None`` for those that there are."""
        target, present = self._of_batch()
        inputs = HeadInputs(call, target, self._ignore_index, present)
        features = self._method.features(inputs)
        return None if features is None else call.replaced(features)

    def edit_output(self, call: HeadCall, output: Tensor) -> Tensor:
        """What the training step goes on with in place of the head's output."""
        target, present = self._of_batch()
        forward = Forward(call, output, target, self._ignore_index, present)
        edited = touch(self._method.forward(forward), self._heads.parameters())
        if self._heads.modules and self._heads.last is None:
            with torch.no_grad():  # the scores are of these heads also where no loss is
                self._heads.logits(forward)
        if self.refuses_early_backward and edited.requires_grad:
            edited.register_hook(self._refuse_early_backward)  # type: ignore[no-untyped-call]
        return edited

    def _of_batch(self) -> tuple[Tensor, Mapping[str, Tensor]]:
        assert self._batch.target is not None
        return self._batch.target, self._batch.present

    def _refuse_early_backward(self, gradient: Tensor) -> None:
        if self._batch.awaits_scores:
            raise RuntimeError(
                f"the backward pass has begun before {self._name} has seen the scores of the "
                "batch, which decide what is passed back: leave the block of `with "
                "regulator.batch(...)` before `loss.backward()`"
            )
