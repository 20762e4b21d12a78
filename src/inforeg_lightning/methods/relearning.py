"""Diagnosing & Re-learning: soft returns to the initial weights (ECCV 2024, arXiv 2407.09705)."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from inforeg_lightning.core._dtensor import split_like, whole
from inforeg_lightning.core.relearning import purity, return_strength, return_to
from inforeg_lightning.engine.book.history import Entry
from inforeg_lightning.engine.book.state import Lifetime
from inforeg_lightning.engine.checks import check_count, check_number
from inforeg_lightning.engine.context import Context, Forward
from inforeg_lightning.engine.distributed import Processes
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.methods._class_features import class_indices, flat_features, of_present
from inforeg_lightning.methods._clusters import check_clustering, cluster

_RECORDED = ("train_purity", "val_purity", "strength")
_Seen = dict[str, list[tuple[Tensor, Tensor]]]


class ReLearning(Method):
    r"""Return encoders to their initial weights by how much they overfit (Wei et al., ECCV 2024).

    See :class:`~inforeg_lightning.callbacks.ReLearningCallback` for the equations, and for what
    ``history`` holds.

    Args:
        lam: λ, >= 0; the authors' 3.
        every: Epochs between two returns; the authors' 20.
        times: How many returns at most; the authors' 3.
        window: When it acts; the paper: always.

    Raises:
        ValueError: An argument is out of range.
        TypeError: An argument is of another kind than described.
        ImportError: scikit-learn is not installed.
    """

    name = "relearning"
    edits_head = True  # what is passed back stays as it is; features are read there
    needs_validation = True

    initial: dict[str, list[Tensor]]
    """Modality -> the parameters of its encoder when training began, on the CPU."""
    _epoch: int
    """How many epochs have ended."""
    _next: int
    """The epoch at whose end the next return is planned."""
    _returns: int
    _trained: bool
    _seen: _Seen
    """Modality -> features and classes of the batches of this epoch, if it ends with a return."""
    _validation: _Seen
    _classes: int
    _is_loaded: bool
    """Whether the features are a checkpoint's, of all processes."""
    _found: dict[str, dict[str, float]]
    """Of the return since the last period: quantity -> modality -> value."""

    def __init__(
        self,
        lam: float = 3.0,
        every: int = 20,
        times: int = 3,
        window: WindowArgument = "always",
    ) -> None:
        super().__init__(window)
        self.lam = check_number("lam", lam, 0, float("inf"), " (the authors: 3)")
        self.every = check_count("every", every, "epochs")
        self.times = check_count("times", times, "returns")
        check_clustering("ReLearning")
        self.add_state("initial", dict, Lifetime.FIT, saved="always")
        self.add_state("_epoch", int, Lifetime.FIT, saved="always")
        self.add_state("_next", None, Lifetime.FIT, saved="always")
        self.add_state("_returns", int, Lifetime.FIT, saved="always")
        self.add_state("_trained", bool, Lifetime.FIT, saved="always")
        self.add_state("_seen", dict, Lifetime.FIT, saved="always")
        self.add_state("_validation", dict, Lifetime.FIT, saved="always")
        self.add_state("_classes", int, Lifetime.FIT, saved="always")
        self.add_state("_is_loaded", bool, Lifetime.FIT)
        self.add_state("_found", dict, Lifetime.FIT, saved="always")

    @property
    def settings(self) -> dict[str, object]:
        """λ, schedule and window."""
        return {
            "lam": self.lam,
            "every": self.every,
            "times": self.times,
            "window": self.window,
        }

    def attach(self, context: Context) -> None:
        """Keep the weights that the encoders begin with, unless a checkpoint brought them."""
        super().attach(context)
        if self._is_loaded and context.processes.rank > 0:
            # What all processes had seen goes on in one of them: it must not count twice.
            self._seen, self._validation = {}, {}
        self._is_loaded = False
        for modality, encoder in context.encoders.items():
            kept = [tuple(tensor.shape) for tensor in self.initial.get(modality, ())]
            if kept != [tuple(parameter.shape) for parameter in encoder.parameters]:
                self.initial[modality] = [
                    whole(parameter.detach()).cpu().clone() for parameter in encoder.parameters
                ]

    def begin_batch(self, begins_period: bool) -> None:
        """Note that the epoch has a batch."""
        self._trained = True

    def forward(self, forward: Forward) -> Tensor:
        """Keep the features of an epoch that ends with a return; leave the output as it is."""
        if self._ends_with_a_return and any(self.context.in_window.values()):
            self._take_in(self._seen, forward)
        return forward.output

    def begin_validation(self) -> None:
        """Begin to collect features."""
        self._validation = {}

    def validate(self, forward: Forward, unimodal: Mapping[str, Tensor]) -> None:
        """Keep the features of a batch, in an epoch that ends with a return."""
        if self._ends_with_a_return:
            self._take_in(self._validation, forward)

    def end_epoch(self) -> None:
        """Diagnose each modality and return its encoder, in an epoch that is planned for it."""
        if not self._trained:  # else it was called before for this epoch
            return
        if self._ends_with_a_return:
            inside = [m for m, acts in self.context.in_window.items() if acts]
            if inside and self._is_validated():
                self._found = self._diagnose(inside)
                for modality, strength in self._found["strength"].items():
                    self._return(modality, strength)
                self._returns += 1
            if not inside or self._found:
                self._next = (self._epoch // self.every + 1) * self.every
        self._epoch += 1
        self._trained = False
        self._seen, self._validation = {}, {}

    def describe_period(self, entry: Entry) -> None:
        """Add purities and strength of a return, ``None`` in periods without one."""
        for quantity in _RECORDED:
            values = self._found.get(quantity, {})
            entry[quantity] = {m: values.get(m) for m in self.context.modalities}
        self._found = {}

    def state_dict(self, inside: bool = True) -> dict[str, Any]:
        """Initial weights and schedule; in an epoch that ends with a return the features as well.

        All processes have to call it together in such an epoch: it gathers theirs.

        Args:
            inside: Whether the period that is open goes on after this.
        """
        own = self._seen, self._validation
        context = self.__dict__.get("context")
        if context is not None and context.processes.size > 1 and self._ends_with_a_return:
            self._seen, self._validation = (
                _gathered(seen, context.modalities, context.processes, context.device)
                for seen in own
            )
        try:
            return super().state_dict(inside)
        finally:
            self._seen, self._validation = own

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        super().load_state_dict(state)
        self._is_loaded = True

    @property
    def _ends_with_a_return(self) -> bool:
        planned = self.every if self._next is None else self._next
        return self._returns < self.times and self._epoch >= planned

    def _take_in(self, seen: _Seen, forward: Forward) -> None:
        classes = class_indices(forward, self.context)
        self._classes = forward.output.shape[1]
        for modality, z in flat_features(forward, self.context).items():
            pairs = seen.setdefault(modality, [])
            if pairs and pairs[0][0].shape[1] != z.shape[1]:
                raise ValueError(
                    f"{self.context.name} had features of {modality} {pairs[0][0].shape[1]} wide, "
                    f"and now {z.shape[1]}. Pool features that differ in length by batch before "
                    "the head."
                )
            pairs.append((z.detach().clone(), of_present(classes, forward.present.get(modality))))

    def _is_validated(self) -> bool:
        """Whether any process has features of a validation of this epoch."""
        mine = torch.tensor(float(bool(self._validation)), device=self.context.device)
        if self.context.processes.sum(mine) > 0:
            return True
        self.context.tracker.warn_once(
            "validation",
            f"epoch {self._epoch} was to end with a return, but had no validation: the return "
            "waits for the next epoch that has one.",
        )
        return False

    def _diagnose(self, modalities: list[str]) -> dict[str, dict[str, float]]:
        """Quantity -> modality -> value, without modalities of which too few samples were seen."""
        found: dict[str, dict[str, float]] = {quantity: {} for quantity in _RECORDED}
        context = self.context
        for modality in modalities:
            purities = [
                self._purity(*_of_all(seen.get(modality, []), context.processes, context.device))
                for seen in (self._seen, self._validation)
            ]
            train, val = context.processes.broadcast(purities)
            if train is None or val is None:
                context.tracker.warn_once(
                    f"samples of {modality}",
                    f"epoch {self._epoch} had fewer samples with {modality} in training or in "
                    "validation than there are classes: its encoder is left as it is.",
                )
                continue
            strength = return_strength(train, val, self.lam)
            for quantity, value in zip(_RECORDED, (train, val, strength), strict=True):
                found[quantity][modality] = value
        return found

    def _purity(self, features: Tensor, classes: Tensor) -> float | None:
        """Of the first process; on all others ``None``, as with fewer samples than clusters."""
        if self.context.processes.rank > 0:
            return None
        counted = (classes >= 0) & torch.isfinite(features).all(dim=1)
        features, classes = features[counted], classes[counted].cpu()
        if len(features) < self._classes:
            return None
        return purity(classes, cluster(features, self._classes))

    def _return(self, modality: str, strength: float) -> None:
        parameters = self.context.encoders[modality].parameters
        initial = [
            split_like(start, parameter)
            for start, parameter in zip(self.initial[modality], parameters, strict=True)
        ]
        return_to(parameters, initial, strength)


def _gathered(
    seen: _Seen, modalities: tuple[str, ...], processes: Processes, device: torch.device
) -> _Seen:
    """What all processes have seen, without modalities that none has."""
    found = {m: _of_all(seen.get(m, []), processes, device) for m in modalities}
    return {m: [pair] for m, pair in found.items() if len(pair[0])}


def _of_all(
    pairs: list[tuple[Tensor, Tensor]], processes: Processes, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Features ``(N, D)`` and classes ``(N,)`` of all processes, which call this together.

    Sample by sample in turn, which is the order that a distributed sampler has split them in.
    """
    if pairs:
        features = torch.cat([z.to(device) for z, _ in pairs])
        classes = torch.cat([k.to(device) for _, k in pairs])
    else:
        features, classes = torch.zeros(0, 0, device=device), torch.zeros(0, device=device).long()
    if processes.size == 1:
        return features, classes
    shapes = torch.zeros(processes.size, 3, dtype=torch.long, device=device)
    is_double = features.dtype == torch.float64
    shapes[processes.rank] = torch.tensor([*features.shape, is_double], device=device)
    shapes = processes.sum(shapes)
    counts, (longest, width, doubles) = shapes[:, 0], shapes.amax(dim=0).tolist()
    dtype = torch.float64 if doubles else torch.float32
    table = torch.zeros(processes.size, longest, width + 1, dtype=dtype, device=device)
    table[processes.rank, : len(features), : features.shape[1]] = features.to(dtype)
    table[processes.rank, : len(features), -1] = classes.to(dtype)
    table = processes.sum(table).transpose(0, 1)
    is_filled = torch.arange(longest, device=device)[:, None] < counts[None, :]
    rows = table[is_filled]
    return rows[:, :-1], rows[:, -1].long()
