"""InfoReg on the encoders of a module: window, anchors, the pull and the history; no hooks here."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.callbacks.encoder import Encoder
from inforeg_lightning.callbacks.history import Entry, make_entry, pack, unpack
from inforeg_lightning.callbacks.period import QUANTITIES, Period
from inforeg_lightning.core.fisher import mean_square, squared_norm
from inforeg_lightning.core.strength import gaps
from inforeg_lightning.core.window import Window


class Regulator:
    """Regulates encoders period by period.

    Args:
        modalities: Their names, in the order of all tensors of shape ``(M,)``.
        window: Which modalities are regulated in a period.
        strength: Scores, shape ``(M,)`` -> α, shape ``(M,)``.
        official: Whether the trace is that of the published code.
    """

    history: list[Entry]
    in_window: dict[str, bool]
    period: Period | None
    _unloaded: Mapping[str, Any]
    _warned: set[str]
    _stepped: set[int]
    _finite: Tensor | None
    _values: dict[str, Tensor]
    _parts: dict[tuple[str, str], Tensor]

    def __init__(
        self,
        modalities: Sequence[str],
        window: Window,
        strength: Callable[[Tensor], Tensor],
        official: bool,
    ) -> None:
        self.modalities = tuple(modalities)
        self.window = window
        self.strength = strength
        self.official = official
        self.encoders: dict[str, Encoder] = {}
        self.reset()

    def reset(self) -> None:
        """Start afresh: no history, no open period."""
        self.history = []
        self.in_window = dict.fromkeys(self.modalities, False)
        self.period = None
        self._unloaded = {}
        self._warned = set()
        self._forget_step()
        for encoder in self.encoders.values():
            encoder.release()

    def attach(self, modules: Mapping[str, Sequence[nn.Module]]) -> None:
        """Take the encoders, on the device they train on.

        Raises:
            ValueError: The published code's trace is asked for and an encoder has no Conv or Linear
                layer; or anchors of a checkpoint are not of these encoders.
        """
        self.encoders = {m: Encoder(modules[m]) for m in self.modalities}
        for modality, encoder in self.encoders.items():
            if self.official and not encoder.layer_weights:
                raise ValueError(
                    f"`encoders[{modality!r}]` has no Conv or Linear layer, over which the "
                    "published code takes its trace. Use InfoRegCallback(...) instead."
                )
            encoder.load_state_dict(self._unloaded.get(modality, {}))
        self._unloaded = {}
        self._held: dict[tuple[int, ...], dict[str, list[nn.Parameter]]] = {}

    def detach(self) -> None:
        """Let go of the encoders; the anchors of an open period wait for :meth:`attach`."""
        if self.encoders and self.period is not None:
            self._unloaded = {m: e.state_dict() for m, e in self.encoders.items()}
        self.encoders = {}
        self._held = {}

    def begin(self, epoch: int) -> None:
        """Begin a period: ask the window; anchors are copied at its first step."""
        traces = {m: [entry["trace"][m] for entry in self.history] for m in self.modalities}
        decision = self.window(traces)
        if set(decision) != set(self.modalities):
            raise ValueError(
                f"`window` must decide for {[*self.modalities]}, but decided for {[*decision]}"
            )
        self.in_window = {m: bool(decision[m]) for m in self.modalities}
        self.period = Period(len(self.modalities), epoch)

    def step(self, optimizer: Optimizer, scores: Tensor, finite: Tensor) -> None:
        """Measure the gradients of a step, then pull the encoders in their window.

        Args:
            optimizer: The one that is about to step.
            scores: Of each modality, shape ``(M,)``.
            finite: Whether losses and scores are, shape ``()``, bool.
        """
        gradients = {
            modality: with_gradient
            for modality, parameters in self._held_by(optimizer).items()
            if (with_gradient := [p for p in parameters if p.grad is not None])
        }
        if not gradients:
            return
        if id(optimizer) in self._stepped:  # a second step in one batch, optimised by hand
            self.fold()
        self._stepped.add(id(optimizer))
        norms = {m: squared_norm(_gradients(held)) for m, held in gradients.items()}
        finite = finite & torch.isfinite(torch.stack(list(norms.values()))).all()
        alpha = torch.where(finite, self.strength(scores), 0.0)
        self._values.update(score=scores, gap=gaps(scores))
        self._finite = finite if self._finite is None else self._finite & finite
        for modality, held in gradients.items():
            index = self.modalities.index(modality)
            encoder = self.encoders[modality]
            if self.in_window[modality]:
                penalty = encoder.pull(held, alpha[index])
                rate = encoder.pull_rate(optimizer)
                self._add(modality, alpha=alpha[index], penalty=penalty)
                self._add(modality, pull=alpha[index] * (torch.nan if rate is None else rate))
            trace = self._official_trace(encoder, held) if self.official else norms[modality]
            self._add(modality, trace=trace)

    def fold(self) -> None:
        """Add the step just made, over all its optimisers, to the period's sums."""
        if self._finite is None:
            return
        assert self.period is not None
        zero = self._values["score"].new_zeros(())
        rows = {q: self._values[q] for q in ("score", "gap")}
        for quantity in QUANTITIES:
            if quantity not in rows:
                parts = [self._parts.get((quantity, m), zero) for m in self.modalities]
                rows[quantity] = torch.stack([part.to(zero.dtype) for part in parts])
        had_gradient = tuple(("trace", m) in self._parts for m in self.modalities)
        self.period.add(rows, had_gradient, self._finite)
        self._forget_step()

    def end(self, step: int) -> Entry:
        """End the period: write its entry of the history and free the anchors.

        Args:
            step: Lightning's global step.
        """
        assert self.period is not None
        sums = frozenset({"pull", "trace"} if self.official else {"pull"})
        values, skipped = self.period.close(sum_of=sums)
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
        for encoder in self.encoders.values():
            encoder.release()
        return entry

    def state_dict(self, *, with_anchors: bool) -> dict[str, Any]:
        """Plain types and tensors only, for loading with ``weights_only=True``."""
        anchors: Mapping[str, Any] = {}
        if with_anchors:
            held = {m: e.state_dict() for m, e in self.encoders.items()}
            anchors = held or self._unloaded
        return {
            "history": pack(self.history, self.modalities),
            "in_window": self.in_window,
            "period": None if self.period is None else self.period.state_dict(),
            "anchors": dict(anchors),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state; anchors wait for :meth:`attach`."""
        self.reset()
        self.history = unpack(state["history"], self.modalities)
        self.in_window = dict(state["in_window"])
        self._unloaded = state["anchors"]
        if state["period"] is not None:
            self.period = Period(len(self.modalities), epoch=0)
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
            rank_zero_warn(f"InfoRegCallback: {message} This is said once.")

    def _held_by(self, optimizer: Optimizer) -> dict[str, list[nn.Parameter]]:
        # Groups change during training, as on unfreezing.
        key = tuple(id(p) for group in optimizer.param_groups for p in group["params"])
        if key not in self._held:
            self._held[key] = {m: e.held_by(optimizer) for m, e in self.encoders.items()}
        return self._held[key]

    def _official_trace(self, encoder: Encoder, held: Sequence[nn.Parameter]) -> Tensor:
        layers = [p for p in held if id(p) in encoder.layer_weights]
        return mean_square(_gradients(layers)) if layers else torch.zeros(())

    def _add(self, modality: str, **parts: Tensor) -> None:
        for quantity, part in parts.items():
            key = quantity, modality
            is_sum = quantity in ("trace", "penalty") and key in self._parts
            self._parts[key] = self._parts[key] + part if is_sum else part

    def _forget_step(self) -> None:
        self._stepped = set()
        self._finite = None
        self._values = {}
        self._parts = {}


def _gradients(parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
