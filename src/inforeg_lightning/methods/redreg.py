"""RedReg: adaptive redundancy regulation (arXiv 2511.13755), InfoReg's successor."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.core._autograd import attach_loss
from inforeg_lightning.core._numeric import at_least_float32, sum_dtype
from inforeg_lightning.core.redreg import (
    excess_redundancy,
    feature_agreement,
    gain_growth,
    orthogonal_pull,
    redreg_strength,
)
from inforeg_lightning.engine.book.state import Lifetime, moved
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_count, check_number, check_unsharded, shown
from inforeg_lightning.engine.context import Context, Forward
from inforeg_lightning.engine.encoder import gradients_of
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.engine.unimodal_heads import HeadsArgument
from inforeg_lightning.methods._anchors import Anchors, anchors_of, placed
from inforeg_lightning.methods._inputs import Call, Inputs, sensitivity
from inforeg_lightning.methods._unimodal_losses import (
    check_flag,
    check_heads,
    check_one_side,
    unimodal_losses,
)

_STEPS, _MOMENTUM = 10, 0.9
"""Length of the rolling mean of scores, and what is kept of the running mean of redundancy."""


class RedReg(Method):
    r"""Pull the dominant modality across its gradient, while it is redundant (Yang et al., 2025).

    See :class:`~inforeg_lightning.callbacks.RedRegCallback` for the equations, and for what
    ``history`` holds.

    Args:
        beta: Steepness of the strength, 0 to 80; the authors' 0.9.
        gamma: Weight of the gain against redundancy, >= 0; the authors' 0.6.
        threshold: What the excess redundancy has to exceed; the authors' 0.15.
        agreement: What the cosine of features has to exceed, in the first and the last of
            ``agreement_periods``; ``None`` leaves that gate open.
        agreement_periods: From the first to the last threshold; the authors' 80 epochs.
        noise: Deviation of what encoders' inputs are perturbed by, >= 0; the authors' 0.03. With 0
            redundancy is not measured and counts as usual, 1.
        unimodal_heads: What makes the unimodal logits; the authors: a classifier per modality.
        unimodal_losses_included: Whether the model's own loss has the unimodal losses already.
        window: When it acts; the authors: always.

    Raises:
        ValueError: An argument is out of range.
        TypeError: An argument is of another kind than described.
    """

    name = "redreg"
    quantities = ("alpha", "excess", "agreement")
    edits_head = True

    anchors: dict[str, Anchors]
    _scores: Tensor | None
    """Of the last steps, shape ``(W + 1, M)``."""
    _counts: Tensor | None
    _running: Tensor | None
    """Running mean of the redundancy, shape ``(M,)``."""
    _logits: dict[str, Tensor]
    _sums: Tensor | None
    """Of this step, shape ``(5, M)``: squares of outputs and inputs, batches; cosines, samples."""
    _decided: dict[str, Tensor]
    _draws: int
    _seed: int | None

    def __init__(
        self,
        beta: float = 0.9,
        gamma: float = 0.6,
        threshold: float = 0.15,
        agreement: tuple[float, float] | None = (0.2, 0.5),
        agreement_periods: int = 80,
        noise: float = 0.03,
        unimodal_heads: HeadsArgument = "own",
        unimodal_losses_included: bool = False,
        window: WindowArgument = "always",
    ) -> None:
        super().__init__(window, "prob")
        most = float("inf")
        self.beta = check_number("beta", beta, 0, 80, " (the authors: 0.9)")
        self.gamma = check_number("gamma", gamma, 0, most, " (the authors: 0.6)")
        self.threshold = check_number("threshold", threshold, -most, most, " (the authors: 0.15)")
        self.agreement = _check_agreement(agreement)
        self.agreement_periods = check_count("agreement_periods", agreement_periods, "periods")
        self.noise = check_number("noise", noise, 0, most, " (the authors: 0.03)")
        self.unimodal_losses_included = check_flag(unimodal_losses_included)
        self.unimodal_heads = check_heads(unimodal_heads, self.unimodal_losses_included)
        self._inputs: Inputs | None = None
        self.add_state("anchors", dict, Lifetime.PERIOD, saved="inside")
        self.add_state("_scores", None, Lifetime.PERIOD, saved="inside")
        self.add_state("_counts", None, Lifetime.PERIOD, saved="inside")
        self.add_state("_running", None, Lifetime.PERIOD, saved="inside")
        self.add_state("_draws", int, Lifetime.FIT, saved="always")
        self.add_state("_seed", None, Lifetime.FIT, saved="always")
        self.add_state("_logits", dict, Lifetime.BATCH)
        self.add_state("_sums", None, Lifetime.STEP)
        self.add_state("_decided", dict, Lifetime.STEP)

    @property
    def settings(self) -> dict[str, object]:
        """All arguments."""
        return {
            "beta": self.beta,
            "gamma": self.gamma,
            "threshold": self.threshold,
            "agreement": self.agreement,
            "agreement_periods": self.agreement_periods,
            "noise": self.noise,
            "unimodal_heads": self.unimodal_heads,
            "unimodal_losses_included": self.unimodal_losses_included,
            "window": self.window,
        }

    def check(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Check that the unimodal losses come from one side, as the argument says."""
        check_one_side(model, "RedReg", self.unimodal_losses_included)

    def attach(self, context: Context) -> None:
        """Take what a checkpoint brought to the encoders, and watch what these are given."""
        super().attach(context)
        check_unsharded(context.encoders, context.name)
        self.anchors = {
            m: placed(self.anchors.get(m, {}), encoder) for m, encoder in context.encoders.items()
        }
        self._scores, self._counts, self._running = (
            None if kept is None else moved(kept, context.device)
            for kept in (self._scores, self._counts, self._running)
        )
        if self._seed is None:
            self._seed = context.processes.broadcast(torch.initial_seed())
        self._close_inputs()
        if self.noise > 0:
            self._inputs = Inputs(context.modules)

    def detach(self) -> None:
        """Let go of the model."""
        super().detach()
        self._close_inputs()

    def begin_batch(self, begins_period: bool) -> None:
        """Watch what the encoders are given."""
        if self._inputs is not None and any(self.context.in_window.values()):
            self._inputs.start()

    def forward(self, forward: Forward) -> Tensor:
        """Measure redundancy and agreement, and add the unimodal losses."""
        in_window = self.context.in_window
        if not any(in_window.values()):
            return forward.output
        self._measure(forward)
        unimodal = self.context.heads.logits(forward)
        self._logits = {m: z.detach() for m, z in unimodal.items()}
        losses = unimodal_losses(forward, unimodal, in_window)
        if self.unimodal_losses_included or not losses:
            return forward.output
        total = torch.stack([*losses.values()]).sum()
        return attach_loss(forward.output, total, self.context.scales.loss)

    def unimodal_logits(self) -> Mapping[str, Tensor] | None:
        """Those of the unimodal heads, whose scores say which modality is dominant."""
        return self._logits or None

    def edit(self, step: Step) -> Done:
        """Pull the dominant modality if it is redundant and agrees with the others."""
        if not self._decided:  # else another optimiser of the same step was first
            self._decided = self._decide(step)
        done: dict[str, Tensor] = {}
        for modality, held in step.held.items():
            if step.in_window[modality]:
                alpha = self._decided["alpha"][step.modalities.index(modality)]
                encoder = self.context.encoders[modality]
                anchors = anchors_of(encoder, self.anchors.setdefault(modality, {}), held)
                orthogonal_pull(held, gradients_of(held), anchors, alpha)
                done[modality] = alpha
        return {
            "alpha": done,
            "excess": self._decided["excess"],
            "agreement": self._decided["agreement"],
        }

    def end_batch(self) -> None:
        """Let go of a (micro-)batch."""
        super().end_batch()
        if self._inputs is not None:
            self._inputs.stop()

    def _decide(self, step: Step) -> dict[str, Tensor]:
        """Strength, excess and agreement of each modality, each of shape ``(M,)``."""
        scores = step.scores.detach()
        every = len(step.modalities)
        mine = scores.new_zeros(5, every) if self._sums is None else self._sums
        total = self.context.processes.sum(mine.to(sum_dtype(mine.device))).to(scores.dtype)
        outputs, inputs, batches, cosines, samples = total.unbind()
        redundancy = self._normalised(outputs / inputs, step.finite & (batches > 0) & (inputs > 0))
        excess = excess_redundancy(redundancy, self._growth(scores, step.finite), self.gamma)
        agreement = cosines / samples  # NaN where no two modalities are compared
        alpha = redreg_strength(scores, excess, self.beta, self.threshold)
        if self.agreement is not None:
            alpha = torch.where(agreement > self._agreement_needed(), alpha, 0.0)
        alpha = torch.where(step.finite, alpha, 0.0)
        return {"alpha": alpha, "excess": excess, "agreement": agreement}

    def _growth(self, scores: Tensor, finite: Tensor) -> Tensor:
        """Take in the scores of a step."""
        if self._scores is None or self._counts is None:
            self._scores = scores.new_zeros(_STEPS + 1, len(scores))
            self._counts = scores.new_zeros(len(scores))
        known = finite & torch.isfinite(scores)
        rolled = torch.cat([self._scores[1:], torch.nan_to_num(scores)[None]])
        self._scores = torch.where(known, rolled, self._scores)
        self._counts = self._counts + known.to(self._counts.dtype)
        return gain_growth(self._scores, self._counts)

    def _normalised(self, redundancy: Tensor, known: Tensor) -> Tensor:
        """Take in the redundancy of a step; in multiples of its running mean, 1 if not known."""
        before = torch.zeros_like(redundancy) if self._running is None else self._running
        after = _MOMENTUM * before + (1 - _MOMENTUM) * redundancy
        self._running = torch.where(known, after, before)
        return torch.where(known, redundancy / self._running, 1.0)

    def _agreement_needed(self) -> float:
        assert self.agreement is not None
        first, last = self.agreement
        gone = len(self.context.tracker.history) / max(1, self.agreement_periods - 1)
        return first + (last - first) * min(1.0, gone)

    def _measure(self, forward: Forward) -> None:
        """Add the redundancy and the agreement of a (micro-)batch to those of the step."""
        calls = {} if self._inputs is None else self._inputs.stop()
        zero = forward.output.new_zeros((), dtype=at_least_float32(forward.output).dtype)
        cosines = {} if self.agreement is None else self._cosines(forward)
        columns = []
        for modality in self.context.modalities:
            squares = self._sensitivity(modality, calls[modality]) if modality in calls else None
            cosine, samples = cosines.get(modality, (zero, zero))
            if squares is None:
                columns.append(torch.stack([zero, zero, zero, cosine, samples]))
            else:
                known = [square.to(zero.dtype) for square in squares]
                columns.append(torch.stack([*known, zero + 1, cosine, samples]))
        self._draws += bool(calls)
        sums = torch.stack(columns, dim=1).detach()
        self._sums = sums if self._sums is None else self._sums + sums

    def _sensitivity(self, modality: str, calls: Sequence[Call]) -> tuple[Tensor, Tensor]:
        """What noise does to the outputs of an encoder; the same draw, whatever the order."""
        generator = self._generator(self.context.device)

        def draw(like: Tensor) -> Tensor:
            kind = {"dtype": like.dtype, "device": like.device}
            return self.noise * torch.randn(like.shape, generator=generator, **kind)  # type: ignore[call-overload, no-any-return]

        found = sensitivity(calls, draw)
        if found is None:
            raise ValueError(
                f"{self.context.name} perturbs the inputs of encoders, but that of {modality} has "
                "none of floating point. Pass noise=0 to go without."
            )
        return found

    def _cosines(self, forward: Forward) -> dict[str, tuple[Tensor, Tensor]]:
        """Modality -> cosines of its features and each other's, summed over samples; how many."""
        call = forward.call
        features = {
            m: at_least_float32(torch.cat([part.detach().flatten(1) for part in parts], dim=1))
            for m, parts in call.features().items()
            if m in call.present
        }
        widths = {m: z.shape[1] for m, z in features.items()}
        if len({*widths.values()}) > 1:
            raise ValueError(
                f"{self.context.name} compares the features of the modalities by their cosine, but "
                f"they are {widths} wide. Give the encoders equal widths, or pass agreement=None "
                "to go without this gate."
            )
        return feature_agreement(features, forward.present)

    def _generator(self, device: torch.device) -> torch.Generator:
        assert self._seed is not None
        seed = (self._seed * 1_000_003 + self._draws) % 2**63
        return torch.Generator(device).manual_seed(seed)

    def _close_inputs(self) -> None:
        if self._inputs is not None:
            self._inputs.close()
        self._inputs = None


def _check_agreement(agreement: object) -> tuple[float, float] | None:
    if agreement is None:
        return None
    if not isinstance(agreement, list | tuple) or len(agreement) != 2:
        raise TypeError(
            "`agreement` must be two numbers, the thresholds of the first and the last period, or "
            f"None, but is {shown(agreement)}"
        )
    first, last = (check_number("agreement", value, -1, 1) for value in agreement)
    return first, last
