"""AGM: adaptive gradient modulation (ICCV 2023, arXiv 2308.07686)."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from inforeg_lightning.core._autograd import redirect
from inforeg_lightning.core._numeric import at_least_float32
from inforeg_lightning.core.agm import agm_coefficients, shapley_outputs, subsets
from inforeg_lightning.engine.book.state import Lifetime, moved
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_head_unsharded, check_number, check_unsharded
from inforeg_lightning.engine.context import Context, Forward
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.engine.probe.head import HeadCall, plain_linear
from inforeg_lightning.engine.scoring import StepScores
from inforeg_lightning.methods._zeroed_inputs import ZeroedInputs

_LEAST_PROBABILITY = 1e-8
_ZEROED = ("features", "inputs")
_LARGEST_ALPHA = 8.0
"""Coefficients reach exp(10 alpha), which float32 must hold."""


class AGM(Method):
    r"""Slow each modality while it is further ahead than it used to be (Li et al., ICCV 2023).

    See :class:`~inforeg_lightning.callbacks.AGMCallback` for the equations, and for what
    ``history`` holds.

    Args:
        alpha: How steeply the coefficient falls with the ratio, in (0, 8]. The authors: 1.5 for
            CREMA-D, 2.5 for AV-MNIST, 4.0 for UR-Funny; 1.0 is their program's default.
        window: When it acts; the authors: always.
        zeroed: What stands for a modality that a subset lacks: its ``"features"`` at zero, or, as
            in the authors' program, those of its ``"inputs"`` at zero.

    Raises:
        ValueError: An argument is out of range.
        TypeError: ``alpha`` is no number.
    """

    name = "agm"
    quantities = ("coefficient",)
    edits_head = True

    means: Tensor | None
    """Of the scores of the steps so far, shape ``(M,)``; 0 where no step counts."""
    steps: Tensor | None
    """How many steps these are of, shape ``(M,)``."""
    _clipped: StepScores
    _shares: dict[str, Tensor] | None
    _present: Mapping[str, Tensor] | None
    _factors: Tensor | None
    _applied: list[Tensor]
    _scored: list[tuple[Tensor, Tensor]]

    def __init__(
        self, alpha: float = 1.0, window: WindowArgument = "always", zeroed: str = "features"
    ) -> None:
        super().__init__(window, "log_prob")
        if zeroed not in _ZEROED:
            raise ValueError(f"`zeroed` must be one of {[*_ZEROED]}, but is {zeroed!r}")
        self.zeroed = zeroed
        self._inputs: ZeroedInputs | None = None
        self.alpha = check_number(
            "alpha", alpha, 0, _LARGEST_ALPHA, " (the authors: 1.0 to 4.0)", open_below=True
        )
        self.add_state("means", None, Lifetime.FIT, saved="always")
        self.add_state("steps", None, Lifetime.FIT, saved="always")
        self.add_state("_shares", None, Lifetime.BATCH)
        self.add_state("_present", None, Lifetime.BATCH)
        self.add_state("_factors", None, Lifetime.BATCH)
        self.add_state("_applied", list, Lifetime.STEP)
        self.add_state("_scored", list, Lifetime.STEP)

    @property
    def settings(self) -> dict[str, object]:
        """α, window and what is zeroed."""
        return {"alpha": self.alpha, "window": self.window, "zeroed": self.zeroed}

    def attach(self, context: Context) -> None:
        """Go on from the means of a checkpoint; refuse a head that cannot be run once more."""
        super().attach(context)
        if context.head is not None:
            check_head_unsharded(context.head, context.head_path, context.name)
        if self._inputs is not None:
            self._inputs.close()
        if self.zeroed == "inputs":
            check_unsharded(context.encoders, f"{context.name}(zeroed='inputs')")
            self._inputs = ZeroedInputs(context.modules)
        self.means, self.steps = moved((self.means, self.steps), context.device)
        self._clipped = StepScores(
            context.modalities, self.score, floor=math.log(_LEAST_PROBABILITY)
        )

    def detach(self) -> None:
        """Let go of the model."""
        super().detach()
        if self._inputs is not None:
            self._inputs.close()
        self._inputs = None

    def begin_batch(self, begins_period: bool) -> None:
        """Watch what the encoders are called with."""
        if self._inputs is not None:
            self._inputs.begin()

    def end_batch(self) -> None:
        """Let go of a (micro-)batch."""
        super().end_batch()
        if self._inputs is not None:
            self._inputs.end()

    def forward(self, forward: Forward) -> Tensor:
        """Have what is passed back go through the mono-modal outputs, each times its coefficient.

        The coefficients are 1 until :meth:`before_backward` fills them in.
        """
        modalities = self.context.modalities
        edits = any(self.context.in_window.values())
        with torch.set_grad_enabled(edits):
            if self._inputs is None:
                shares, rest = mono_modal_outputs(forward.call, forward.output)
            else:
                outputs = self._inputs.outputs(forward.call, forward.output)
                shares, rest = shapley_outputs(outputs, forward.call.present), None
        self._shares = {m: share.detach() for m, share in shares.items()}
        self._present = forward.present
        self._clipped.ignore_index = forward.ignore_index
        first = next(iter(shares.values()))
        factors = torch.ones(len(modalities), dtype=first.dtype, device=first.device)
        self._factors = factors
        if not edits:
            return forward.output
        used = [factors[modalities.index(m)] for m in shares]  # views, to be filled in
        if rest is None:
            return redirect(forward.output, [*shares.values()], used)
        one = torch.ones_like(factors[0])
        return redirect(forward.output, [*shares.values(), rest], [*used, one])

    def unimodal_logits(self) -> Mapping[str, Tensor] | None:
        """The mono-modal outputs."""
        return self._shares

    def before_backward(self, target: Tensor | None, finite: Tensor) -> None:
        """Fill in the coefficients of this (micro-)batch, now that its scores are known."""
        shares, factors = self._shares, self._factors
        self._shares = self._factors = None
        if self._inputs is not None:
            self._inputs.begin()  # another forward pass may follow
        self._clipped.forget()
        self._clipped.add_loss(finite)
        if shares is not None and target is not None:
            self._clipped.add(shares, target, self._present)
        # Also without a call of the head: another process may have had one.
        scored = self._clipped.over_processes(self.context.processes)
        assert scored is not None
        coefficients = self._next_coefficients(scored.scores, scored.counts)
        if factors is not None:
            factors.copy_(coefficients)
            self._applied.append(factors)

    def edit(self, step: Step) -> Done:
        """Tell the mean coefficients of the micro-batches: gradients are scaled by now."""
        applied = torch.stack(self._applied).mean(0) if self._applied else None
        return {"coefficient": torch.ones_like(step.scores) if applied is None else applied}

    def after_scores(self) -> None:
        """Take the scores of the step into the running means."""
        if not self._scored:
            return
        scores, counts = (torch.stack(values) for values in zip(*self._scored, strict=True))
        self._scored = []  # another optimiser's step is of the same scores
        assert self.means is not None
        assert self.steps is not None
        step = torch.where(counts, scores, 0.0).sum(0) / counts.sum(0)
        self.steps = self.steps + counts.any(0)
        self.means = self.means + torch.where(counts.any(0), (step - self.means) / self.steps, 0.0)

    def _next_coefficients(self, scores: Tensor, counts: Tensor) -> Tensor:
        """The coefficients of a (micro-)batch, shape ``(M,)``; 1 if it does not count.

        Args:
            scores: Shape ``(M,)``; NaN for a modality that no sample has.
            counts: Whether the batch does, shape ``()``, bool.
        """
        if self.means is None or self.steps is None:
            self.means, self.steps = torch.zeros_like(scores), torch.zeros_like(scores)
        self.means, self.steps = self.means.to(scores), self.steps.to(scores)
        self._scored.append((scores, counts & ~scores.isnan()))
        known = self.steps > 0
        # r and τ must be of the same modalities; in the first step there is no τ, and it is 1.
        compared = ~scores.isnan() & (known | ~known.any())
        coefficients = agm_coefficients(
            torch.where(compared, scores, torch.nan),
            torch.where(compared & known, self.means, torch.nan),
            self.alpha,
        )
        one = torch.ones_like(scores[0])
        in_window = [self.context.in_window[m] for m in self.context.modalities]
        coefficients = torch.stack(
            [c if acts else one for c, acts in zip(coefficients.unbind(), in_window, strict=True)]
        )
        return torch.where(counts, coefficients, 1.0)


def mono_modal_outputs(call: HeadCall, output: Tensor) -> tuple[dict[str, Tensor], Tensor | None]:
    """Split what a head returned into a share of each modality.

    Args:
        call: The call of the head.
        output: What it returned.

    Returns:
        Modality that the batch has -> its share, at least float32, of the shape of the output; and
        what is lacking to make the shares add up to the output, ``None`` if nothing. It is what
        belongs to no encoder, and an even part, per modality that the batch does not have, of what
        there is without any modality.
    """
    if plain_linear(call.head) is not None:
        return call.unimodal(), call.rest()
    # The full set is the output that training goes on with: in training mode, and already there.
    outputs = {
        subset: at_least_float32(
            output if len(subset) == len(call.present) else call.only({*subset, None})
        )
        for subset in subsets(call.present)
    }
    shares = shapley_outputs(outputs, call.present)
    strangers = call.layout.of_nobody(call.leaves)
    if not strangers and not call.layout.absent:
        return shares, None
    # As they are, the shares have all that there is without any modality of the batch in them.
    empty = at_least_float32(call.only(()))
    without = at_least_float32(call.only({None})) if strangers else empty
    taken = without / len(shares) - empty / len(call.modalities)
    return {m: share - taken for m, share in shares.items()}, taken * len(shares)
