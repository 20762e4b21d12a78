"""What every method keeps by period: the window, the traces and the history; no hooks here."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.callbacks.encoder import Encoder
from inforeg_lightning.callbacks.history import Entry, make_entry, pack, unpack
from inforeg_lightning.callbacks.period import Period
from inforeg_lightning.core.fisher import squared_norm
from inforeg_lightning.core.window import Window

_SUMMED_OVER_OPTIMIZERS = ("trace", "penalty")


@dataclass(frozen=True)
class Step:
    """A step of an optimiser, before it is made, for a method to edit.

    Args:
        optimizer: The one that is about to step.
        held: Modality -> the parameters of its encoder that the optimiser holds and that have a
            gradient; modalities without any are left out.
        squared_norms: Of these gradients, modality -> shape ``()``.
        modalities: All of them, in the order of ``scores``.
        scores: Of each modality over the step's global batch, shape ``(M,)``; NaN if unknown.
        finite: Whether losses, scores and gradients are, shape ``()``, bool; never read on the
            host. A step that is not finite must be left as it is.
        in_window: Modality -> whether the method acts on it in this period.
        index: How many steps were made before, Lightning's global step.
    """

    optimizer: Optimizer
    held: Mapping[str, Sequence[nn.Parameter]]
    squared_norms: Mapping[str, Tensor]
    modalities: tuple[str, ...]
    scores: Tensor
    finite: Tensor
    in_window: Mapping[str, bool]
    index: int


Edit = Callable[[Step], Mapping[str, Tensor | Mapping[str, Tensor]]]
"""Edits the gradients of a step in place. Returns what it did: quantity -> shape ``(M,)``, or
modality -> shape ``()`` for those that it acted on. A ``"trace"`` replaces the measured one."""


class Tracker:
    """Measures encoders step by step, and asks the window period by period.

    Args:
        modalities: Their names, in the order of all tensors of shape ``(M,)``.
        window: Which modalities a method acts on in a period.
        quantities: What the method's :data:`Edit` returns.
        sums: Those of them that a period adds up; of all others it takes the mean.
        name: Of the callback, for its warnings.
    """

    history: list[Entry]
    in_window: dict[str, bool]
    period: Period | None
    _warned: set[str]
    _stepped: set[int]
    _finite: Tensor | None
    _values: dict[str, Tensor]
    _parts: dict[tuple[str, str], Tensor]

    def __init__(
        self,
        modalities: Sequence[str],
        window: Window,
        quantities: Sequence[str],
        sums: Sequence[str],
        name: str,
    ) -> None:
        self.modalities = tuple(modalities)
        self.window = window
        self.quantities = ("trace", "score", *quantities)
        self.sums = frozenset(sums)
        self.name = name
        self.encoders: dict[str, Encoder] = {}
        self.reset()

    def reset(self) -> None:
        """Start afresh: no history, no open period."""
        self.history = []
        self.in_window = dict.fromkeys(self.modalities, False)
        self.period = None
        self._warned = set()
        self._forget_step()

    def attach(self, modules: Mapping[str, Sequence[nn.Module]]) -> None:
        """Take the encoders, on the device they train on."""
        self.encoders = {m: Encoder(modules[m]) for m in self.modalities}
        self._held: dict[tuple[int, ...], dict[str, list[nn.Parameter]]] = {}

    def detach(self) -> None:
        """Let go of the encoders."""
        self.encoders = {}
        self._held = {}

    def begin(self, epoch: int) -> None:
        """Begin a period: ask the window."""
        traces = {m: [entry["trace"][m] for entry in self.history] for m in self.modalities}
        decision = self.window(traces)
        if set(decision) != set(self.modalities):
            raise ValueError(
                f"`window` must decide for {[*self.modalities]}, but decided for {[*decision]}"
            )
        self.in_window = {m: bool(decision[m]) for m in self.modalities}
        self.period = Period(len(self.modalities), self.quantities, epoch)

    def step(
        self, optimizer: Optimizer, scores: Tensor, finite: Tensor, index: int, edit: Edit
    ) -> None:
        """Measure the gradients of a step, then let the method edit them.

        Args:
            optimizer: The one that is about to step.
            scores: Of each modality, shape ``(M,)``.
            finite: Whether losses and scores are, shape ``()``, bool.
            index: Lightning's global step.
            edit: The method.
        """
        held = {
            modality: with_gradient
            for modality, parameters in self._held_by(optimizer).items()
            if (with_gradient := [p for p in parameters if p.grad is not None])
        }
        if not held:
            return
        if id(optimizer) in self._stepped:  # a second step in one batch, optimised by hand
            self.fold()
        self._stepped.add(id(optimizer))
        norms = {m: squared_norm(gradients_of(parameters)) for m, parameters in held.items()}
        finite = finite & torch.isfinite(torch.stack(list(norms.values()))).all()
        self._finite = finite if self._finite is None else self._finite & finite
        self._values["score"] = scores
        step = Step(optimizer, held, norms, self.modalities, scores, finite, self.in_window, index)
        with torch.no_grad():  # a graph over weights would be kept, and grow, with what is kept
            done = edit(step)
        for quantity, value in ({"trace": norms} | dict(done)).items():
            if isinstance(value, Tensor):
                self._values[quantity] = value
            else:
                self._add(quantity, value)

    def fold(self) -> None:
        """Add the step just made, over all its optimisers, to the period's sums."""
        if self._finite is None:
            return
        assert self.period is not None
        zero = self._values["score"].new_zeros(())
        rows = dict(self._values)
        for quantity in self.quantities:
            if quantity not in rows:
                parts = [self._parts.get((quantity, m), zero) for m in self.modalities]
                rows[quantity] = torch.stack([part.to(zero.dtype) for part in parts])
        had_gradient = tuple(("trace", m) in self._parts for m in self.modalities)
        self.period.add(rows, had_gradient, self._finite)
        self._forget_step()

    def end(self, step: int) -> Entry:
        """End the period: write its entry of the history.

        Args:
            step: Lightning's global step.
        """
        assert self.period is not None
        values, skipped = self.period.close(sum_of=self.sums)
        self._warn_of(self.period.steps, skipped, values["trace"])
        entry = make_entry(
            self.history[-1] if self.history else None,
            {
                "epoch": self.period.epoch,
                "step": step,
                "steps": self.period.steps,
                "skipped": skipped,
            },
            {q: dict(zip(self.modalities, v, strict=True)) for q, v in values.items()},
            self.in_window,
        )
        self.history.append(entry)
        self.period = None
        return entry

    def state_dict(self) -> dict[str, Any]:
        """Plain types and tensors only, for loading with ``weights_only=True``."""
        return {
            "history": pack(self.history, self.modalities, self.quantities),
            "in_window": self.in_window,
            "period": None if self.period is None else self.period.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self.reset()
        self.history = unpack(state["history"], self.modalities, self.quantities)
        self.in_window = dict(state["in_window"])
        if state["period"] is not None:
            self.period = Period(len(self.modalities), self.quantities, epoch=0)
            self.period.load_state_dict(state["period"])

    def _warn_of(self, steps: int, skipped: int, traces: Sequence[float | None]) -> None:
        period = len(self.history)
        if skipped:
            self._warn(
                "skipped",
                f"{skipped} of {steps} steps of period {period} had a loss, score or gradient that "
                "was not finite, or no unimodal logits. They are not regulated, and left out of "
                "trace and window; `history` counts them as `skipped`.",
            )
        if steps == 0:
            self._warn(
                "steps",
                f"no optimiser step was seen in period {period}. With manual optimisation, step "
                "through `self.optimizers()`, which calls the hooks of callbacks.",
            )
        if steps == skipped:
            return
        for modality, trace in zip(self.modalities, traces, strict=True):
            parameters = self.encoders[modality].parameters
            if trace is None and any(p.requires_grad for p in parameters):
                self._warn(
                    f"gradient of {modality}",
                    f"the encoder of {modality} had no gradient in any step of period {period}, so "
                    "that it is neither measured nor regulated. Does `encoders` name the module "
                    "that training_step uses, and does an optimiser hold its parameters?",
                )

    def _warn(self, about: str, message: str) -> None:
        if about not in self._warned:
            self._warned.add(about)
            rank_zero_warn(f"{self.name}: {message} This is said once.")

    def _held_by(self, optimizer: Optimizer) -> dict[str, list[nn.Parameter]]:
        # Groups change during training, as on unfreezing.
        key = tuple(id(p) for group in optimizer.param_groups for p in group["params"])
        if key not in self._held:
            self._held[key] = {m: e.held_by(optimizer) for m, e in self.encoders.items()}
        return self._held[key]

    def _add(self, quantity: str, parts: Mapping[str, Tensor]) -> None:
        for modality, part in parts.items():
            key = quantity, modality
            is_sum = quantity in _SUMMED_OVER_OPTIMIZERS and key in self._parts
            self._parts[key] = self._parts[key] + part if is_sum else part

    def _forget_step(self) -> None:
        self._stepped = set()
        self._finite = None
        self._values = {}
        self._parts = {}


def gradients_of(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """The gradients of those that have one."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
