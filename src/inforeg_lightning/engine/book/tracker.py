"""What every method keeps per period: the window, the traces and the history."""

import warnings
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.core.fisher import squared_norm
from inforeg_lightning.core.window import Window
from inforeg_lightning.engine.book.history import Entry, make_entry
from inforeg_lightning.engine.book.period import PeriodSums
from inforeg_lightning.engine.book.state import Lifetime, Stateful
from inforeg_lightning.engine.encoder import Encoder, gradients_of
from inforeg_lightning.engine.scoring import Scored

Done = Mapping[str, Tensor | Mapping[str, Tensor]]
"""What a method did in a step: quantity -> shape ``(M,)``, or modality -> shape ``()`` for those
that it acted on. A ``"trace"`` replaces the measured one."""

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
        present: Whether a sample of the step has the modality, shape ``(M,)``, bool.
        finite: Whether losses, scores and gradients are, shape ``()``, bool; never read on the
            host. A step that is not finite must be left as it is.
        in_window: Modality -> whether the method acts on it in this period.
        index: How many steps were made before.
    """

    optimizer: Optimizer
    held: Mapping[str, Sequence[nn.Parameter]]
    squared_norms: Mapping[str, Tensor]
    modalities: tuple[str, ...]
    scores: Tensor
    present: Tensor
    finite: Tensor
    in_window: Mapping[str, bool]
    index: int


class Tracker(Stateful):
    """Measures encoders step by step, and asks the window period by period.

    Args:
        modalities: Their names, in the order of all tensors of shape ``(M,)``.
        window: Which modalities a method acts on in a period.
        quantities: What the method returns of a step.
        sums: Those of them that a period adds up; of all others it takes the mean.
        name: Who the user constructed, for warnings.
    """

    history: list[Entry]
    in_window: dict[str, bool]
    sums: PeriodSums | None
    _warned: set[str]
    _stepped: set[int]
    _finite: Tensor | None
    _scored: Scored | None
    _values: dict[str, Tensor]
    _parts: dict[tuple[str, str], Tensor]

    def __init__(
        self,
        modalities: Sequence[str],
        window: Window,
        quantities: Sequence[str],
        sums: Collection[str],
        name: str,
    ) -> None:
        self.modalities = tuple(modalities)
        self.window = window
        self.quantities = ("trace", "score", *quantities)
        self.sum_of = frozenset(sums)
        self.name = name
        self.speaks = True
        """Whether this process warns."""
        self.encoders: dict[str, Encoder] = {}
        self._held: dict[tuple[int, ...], dict[str, list[nn.Parameter]]] = {}
        self.add_state("history", list, Lifetime.FIT, "always")
        self.add_state(
            "in_window", partial(dict.fromkeys, self.modalities, False), Lifetime.FIT, "always"
        )
        self.add_state("sums", None, Lifetime.PERIOD)
        self.add_state("_warned", set, Lifetime.FIT)
        self.add_state("_stepped", set, Lifetime.STEP)
        self.add_state("_finite", None, Lifetime.STEP)
        self.add_state("_scored", None, Lifetime.STEP)
        self.add_state("_values", dict, Lifetime.STEP)
        self.add_state("_parts", dict, Lifetime.STEP)

    def attach(self, encoders: Mapping[str, Encoder]) -> None:
        """Take the encoders, on the device they train on."""
        self.encoders = dict(encoders)
        self._held = {}

    def detach(self) -> None:
        """Let go of the encoders."""
        self.encoders = {}
        self._held = {}

    @property
    def device(self) -> torch.device:
        """That of the first encoder that has parameters."""
        encoders = [encoder for encoder in self.encoders.values() if encoder.parameters]
        return encoders[0].device if encoders else torch.device("cpu")

    @property
    def traces(self) -> dict[str, list[float]]:
        """Modality -> its trace in each period that has ended."""
        return {m: [entry["trace"][m] for entry in self.history] for m in self.modalities}

    def begin(self, epoch: int) -> None:
        """Begin a period: ask the window."""
        decision = self.window(self.traces)
        if set(decision) != set(self.modalities):
            raise ValueError(
                f"`window` must decide for {[*self.modalities]}, but decided for {[*decision]}"
            )
        self.in_window = {m: bool(decision[m]) for m in self.modalities}
        self.sums = PeriodSums(len(self.modalities), self.quantities, epoch)

    def measure(self, optimizer: Optimizer, scored: Scored, index: int) -> Step | None:
        """Measure the gradients of a step that is about to be made.

        Args:
            optimizer: The one that is about to step.
            scored: The scores of the step.
            index: How many steps were made before.

        Returns:
            The step; ``None`` if the optimiser holds no gradient of any encoder.
        """
        held = {
            modality: with_gradient
            for modality, parameters in self._held_by(optimizer).items()
            if (with_gradient := [p for p in parameters if p.grad is not None])
        }
        if not held:
            return None
        if id(optimizer) in self._stepped:  # a second step in one batch, optimised by hand
            self.fold()
        self._stepped.add(id(optimizer))
        norms = {m: squared_norm(gradients_of(parameters)) for m, parameters in held.items()}
        finite = scored.counts & torch.isfinite(torch.stack(list(norms.values()))).all()
        self._finite = finite if self._finite is None else self._finite & finite
        self._scored = scored
        return Step(
            optimizer,
            held,
            norms,
            self.modalities,
            scored.scores,
            scored.present,
            finite,
            self.in_window,
            index,
        )

    def has_gradient(self, optimizer: Optimizer) -> bool:
        """Whether an optimiser holds a gradient of an encoder."""
        held = self._held_by(optimizer).values()
        return any(p.grad is not None for parameters in held for p in parameters)

    def record(self, step: Step, done: Done) -> None:
        """Note what a step measured and what the method did in it."""
        for quantity, value in ({"trace": step.squared_norms} | dict(done)).items():
            if isinstance(value, Tensor):
                self._values[quantity] = value
            else:
                self._add(quantity, value)

    def fold(self) -> None:
        """Add the step just made, over all its optimisers, to the period's sums."""
        if self._finite is None or self._scored is None:
            return
        assert self.sums is not None
        scored = self._scored
        zero = scored.scores.new_zeros(())
        rows = {"score": scored.scores} | self._values
        for quantity in self.quantities:
            if quantity not in rows:
                parts = [self._parts.get((quantity, m), zero) for m in self.modalities]
                rows[quantity] = torch.stack([part.to(zero.dtype) for part in parts])
        # The gradient is a mean over all samples; that over those with the modality is larger.
        rows["trace"] = rows["trace"] * scored.dilution.square()
        had_gradient = tuple(("trace", m) in self._parts for m in self.modalities)
        self.sums.add(rows, had_gradient, scored.present, self._finite)
        self.forget(Lifetime.STEP)

    def skip(self) -> None:
        """Count a step that was never made, nor measured."""
        if self.sums is not None:
            none = torch.zeros(
                len(self.modalities), device=next(iter(self.encoders.values())).device
            )
            rows = dict.fromkeys(self.quantities, none)
            had_gradient = (False,) * len(self.modalities)
            self.sums.add(rows, had_gradient, none > 0, (none > 0).any())

    def end(self, step: int) -> Entry:
        """End the period: write its entry of the history.

        Args:
            step: How many steps were made so far.
        """
        assert self.sums is not None
        values, skipped = self.sums.close(sum_of=self.sum_of)
        self._warn_of(self.sums.steps, skipped, values)
        entry = make_entry(
            self.history[-1] if self.history else None,
            {"epoch": self.sums.epoch, "step": step, "steps": self.sums.steps, "skipped": skipped},
            {q: dict(zip(self.modalities, v, strict=True)) for q, v in values.items()},
            self.in_window,
        )
        self.history.append(entry)
        self.sums = None
        return entry

    def state_dict(self, inside: bool = True) -> dict[str, Any]:
        """What is saved, and the sums of an open period with it, whether or not it goes on."""
        return super().state_dict(inside) | {
            "sums": None if self.sums is None else self.sums.state_dict()
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        super().load_state_dict({name: value for name, value in state.items() if name != "sums"})
        if state["sums"] is not None:
            self.sums = PeriodSums(len(self.modalities), self.quantities, epoch=0)
            self.sums.load_state_dict(state["sums"])

    def warn_once(self, about: str, message: str) -> None:
        """Warn, on one process and once per training."""
        if about not in self._warned:
            self._warned.add(about)
            if self.speaks:
                warnings.warn(f"{self.name}: {message} This is said once.", stacklevel=4)

    def warn_of_absence(self) -> None:
        """Warn of a modality that no sample has had so far, while others were scored."""
        ever = {m for entry in self.history for m, s in entry["score"].items() if s is not None}
        for modality in self.modalities if ever else ():
            if modality not in ever:
                self.warn_once(
                    f"absence of {modality}",
                    f"no sample had {modality} in all of an epoch. If some did, does `encoders` "
                    "name the module that training_step calls?",
                )

    def _warn_of(
        self, steps: int, skipped: int, values: Mapping[str, Sequence[float | None]]
    ) -> None:
        period = len(self.history)
        if skipped:
            self.warn_once(
                "skipped",
                f"{skipped} of {steps} steps of period {period} had a loss, score or gradient that "
                "was not finite, or no unimodal logits, or were never made. They are not "
                "regulated, and left out of trace and window; `history` counts them as `skipped`. "
                "(A target that is out of range has no finite score: does `target=` lead to the "
                "classes?)",
            )
        if steps == 0 and any(encoder.is_trainable for encoder in self.encoders.values()):
            self.warn_once(
                "steps",
                f"no optimiser step was seen in period {period}. In Lightning's manual "
                "optimisation, call `self.manual_backward(loss)` instead of `loss.backward()`, and "
                "step through `self.optimizers()`: these call the hooks of callbacks. In a loop of "
                "your own, give the Regulator the optimizers that step.",
            )
        if steps == skipped:
            return
        scores = values["score"]
        are_scored = any(score is not None for score in scores)
        for modality, trace, score in zip(self.modalities, values["trace"], scores, strict=True):
            is_absent = are_scored and score is None
            if trace is None and not is_absent and self.encoders[modality].is_trainable:
                self.warn_once(
                    f"gradient of {modality}",
                    f"the encoder of {modality} had no gradient in any step of period {period}, so "
                    "that it is neither measured nor regulated. Does `encoders` name the module "
                    "that training_step uses, and does an optimiser hold its parameters?",
                )

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
