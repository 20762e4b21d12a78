"""Short trainings of copies of the model, in which a method measures what it is to do.

A front (:mod:`inforeg_lightning.callbacks`) says how its model is copied, run and fed, as
:class:`Copies`; the training itself is not touched.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from copy import copy as shallow_copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.core._numeric import sum_dtype
from inforeg_lightning.engine.context import Forward, Heads
from inforeg_lightning.engine.distributed import Processes
from inforeg_lightning.engine.finding import Finder
from inforeg_lightning.engine.probe.head import HeadCall
from inforeg_lightning.engine.probe.probe import UnimodalProbe
from inforeg_lightning.engine.unimodal_heads import UnimodalHeads

Sums = Mapping[str, tuple[Tensor, Tensor]]
"""Name of a loss -> its sum over the samples that count, and how many they are."""

Terms = Callable[[Heads, Forward], Sums]
"""``(unimodal heads, forward) -> sums`` of a copy, with a graph: what is minimised, each as a mean,
and measured."""


class Copies(ABC):
    """What a front provides for trials: copies of its model, batches, and a forward pass.

    Attributes:
        model: That is trained, and copied.
        planned_epochs: Of the whole training, ``None`` if it is unlimited.
        accumulates: (Micro-)batches per optimiser step.
        context: The precision of the forward pass.
    """

    model: nn.Module
    planned_epochs: int | None
    accumulates: int
    context: Callable[[], AbstractContextManager[None]]

    @abstractmethod
    def copy(self) -> nn.Module:
        """A copy of the model as it is now, in the mode that it trains in."""

    @abstractmethod
    def optimizers(self, model: nn.Module) -> Sequence[Optimizer]:
        """New optimisers of a copy, with the settings of those that train the model."""

    @abstractmethod
    def train_batches(self, epoch: int) -> Iterable[Any]:
        """The batches of an epoch of training, 0 being the one to come, on their device."""

    @abstractmethod
    def validation_batches(self) -> Iterable[Any]:
        """The batches of a validation, on their device."""

    @abstractmethod
    def train_step(self, model: nn.Module, batch: Any, index: int) -> None:
        """Run the forward pass of a training step; its loss is not used."""

    @abstractmethod
    def validation_step(self, model: nn.Module, batch: Any, index: int) -> None:
        """Run that of a validation."""

    @abstractmethod
    def target(self, batch: Any) -> Tensor:
        """The target of a batch."""

    @abstractmethod
    def present(self, batch: Any) -> Mapping[str, Tensor]:
        """Modality -> which samples of a batch have it, for those that not all have."""

    @abstractmethod
    def isolated(self, epoch: int) -> AbstractContextManager[None]:
        """Random numbers that depend on the epoch alone; those of the training go on after it."""


class Trials:
    """Measures losses of copies, before and after a few epochs of training.

    Losses are means over all samples of the training batches and of the validation batches, in
    evaluation mode. Under data parallelism the gradients of a copy are averaged over the processes
    as those of the model are, and losses are those of all samples.

    Args:
        copies: What the front provides.
        found: The paths of encoders and head.
        heads: The unimodal heads of the model.
        ignore_index: The target that counts nowhere.
        processes: That train together.
    """

    def __init__(
        self,
        copies: Copies,
        found: Finder,
        heads: UnimodalHeads,
        ignore_index: float,
        processes: Processes,
    ) -> None:
        self.planned_epochs = copies.planned_epochs
        self._copies = copies
        self._found = found
        self._heads = heads
        self._ignore_index = ignore_index
        self._processes = processes

    def measure(self, terms: Terms) -> dict[str, tuple[float, float]]:
        """The losses of the model as it is.

        Args:
            terms: What to measure.

        Returns:
            Name of the loss -> of training, of validation; NaN where no sample counts.
        """
        return self._measure(self._watched(terms))

    def train(self, terms: Terms, epochs: int) -> dict[str, tuple[float, float]]:
        """The losses after a training of their sum, from the weights of now, with new optimisers.

        Losses that share no parameters are so trained as if each were alone.

        Args:
            terms: What to minimise, and to measure after it.
            epochs: How long.
        """
        copy = self._watched(terms)
        optimizers = self._copies.optimizers(copy.model)
        for epoch in range(epochs):
            self._train_epoch(copy, optimizers, epoch)
        return self._measure(copy)

    def _watched(self, terms: Terms) -> "_Copy":
        return _Copy(self._copies, self._found, self._heads, self._ignore_index, terms)

    def _train_epoch(self, copy: "_Copy", optimizers: Sequence[Optimizer], epoch: int) -> None:
        waiting = 0
        for index, batch in enumerate(self._copies.train_batches(epoch)):
            sums = copy.run(self._copies.train_step, batch, index)
            # Over no sample the sum is 0, and so is the loss.
            losses = [total / count.clamp(min=1.0) for total, count in sums.values()]
            if any(loss.requires_grad for loss in losses):
                (torch.stack(losses).sum() / self._copies.accumulates).backward()  # type: ignore[no-untyped-call]
            waiting += 1
            if waiting == self._copies.accumulates:
                self._step(copy, optimizers)
                waiting = 0
        if waiting:
            self._step(copy, optimizers)

    def _step(self, copy: "_Copy", optimizers: Sequence[Optimizer]) -> None:
        if self._processes.size > 1:
            for p in copy.model.parameters():
                if p.requires_grad:  # on every process, whatever its batch had
                    mine = torch.zeros_like(p) if p.grad is None else p.grad
                    p.grad = self._processes.mean(mine)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    def _measure(self, copy: "_Copy") -> dict[str, tuple[float, float]]:
        copies = self._copies
        copy.evaluate()
        train = self._means(copy, copies.train_step, copies.train_batches(0), "training_step")
        val = self._means(
            copy, copies.validation_step, copies.validation_batches(), "validation_step"
        )
        return {name: (train[name], val[name]) for name in train}

    def _means(
        self,
        copy: "_Copy",
        step: Callable[[nn.Module, Any, int], None],
        batches: Iterable[Any],
        called: str,
    ) -> dict[str, float]:
        total: Tensor | None = None
        names: list[str] = []
        for index, batch in enumerate(batches):
            sums = copy.run(step, batch, index)
            if sums:
                names = [*sums]
                row = torch.stack([torch.stack(pair).detach() for pair in sums.values()])
                row = row.to(sum_dtype(row.device))
                total = row if total is None else total + row
        if total is None:
            raise ValueError(
                f"`head={self._found.head_path!r}` was not called in {called}, whose losses are "
                "measured, or there was no batch. Predict with the head there."
            )
        numbers = self._processes.sum(total).tolist()
        return {
            name: loss / count if count else float("nan")
            for name, (loss, count) in zip(names, numbers, strict=True)
        }


class _Copy:
    """A copy of the model that is watched by a probe of its own."""

    def __init__(
        self,
        copies: Copies,
        found: Finder,
        heads: UnimodalHeads,
        ignore_index: float,
        terms: Terms,
    ) -> None:
        self.model = copies.copy()
        self._copies, self._ignore_index, self._terms = copies, ignore_index, terms
        encoders, head = found.look(self.model)
        assert head is not None
        self._heads = _of_copy(heads, copies.model, self.model)
        self._probe = UnimodalProbe(encoders, head, self._see)
        self._probe.context = copies.context
        self._target: Tensor | None = None
        self._present: Mapping[str, Tensor] = {}
        self._sums: Sums | None = None

    def evaluate(self) -> None:
        """Go over to evaluation mode."""
        self.model.eval()

    def run(self, step: Callable[[nn.Module, Any, int], None], batch: Any, index: int) -> Sums:
        """The losses of a batch, with a graph; empty if it has none."""
        self._target, self._present = self._copies.target(batch), self._copies.present(batch)
        self._sums = None
        self._probe.start()
        # With a graph in evaluation too: it tells whose features are where.
        with torch.enable_grad():
            step(self.model, batch, index)
        if self._sums is None:  # the step runs the head without a graph, as in validation it may
            self._probe.evaluate(self._see_again)
        self._probe.stop()
        return self._sums or {}

    def _see(self, call: HeadCall, output: Tensor) -> Tensor:
        assert self._target is not None
        forward = Forward(call, output, self._target, self._ignore_index, self._present)
        self._sums = self._terms(self._heads, forward)
        return output

    def _see_again(self, call: HeadCall) -> None:
        self._see(call, call.only((*call.modalities, None)))


def _of_copy(heads: UnimodalHeads, model: nn.Module, copied: nn.Module) -> UnimodalHeads:
    """The unimodal heads of a copy of the model that these are part of."""
    paths = {module: path for path, module in model.named_modules()}
    made = shallow_copy(heads)
    made.modules = {m: copied.get_submodule(paths[head]) for m, head in heads.modules.items()}
    return made
