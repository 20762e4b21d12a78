"""OPM: on-the-fly prediction modulation (TPAMI 2024, arXiv 2410.11582)."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from inforeg_lightning.core.modality_dropout import keep_one
from inforeg_lightning.core.opm import opm_probabilities, opm_scale
from inforeg_lightning.engine.book.state import Lifetime
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_number
from inforeg_lightning.engine.context import Context, HeadInputs
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.engine.scoring import StepScores
from inforeg_lightning.methods._dropping import Draws, has_by_sample, without_dropped


class OPM(Method):
    """Drop features of the modality that leads, the more the further (Wei et al., TPAMI 2024).

    See :class:`~inforeg_lightning.callbacks.OPMCallback` for the equations, and for what
    ``history`` holds.

    Args:
        q_base: Drop probability of a modality that hardly leads, in (0, 1]; the authors' script
            has 0.5.
        lam: By how much of that it grows with the lead, >= 0; the authors' script has 0.5.
        p_exe: In how many of the steps anything is dropped, in (0, 1]; the authors' script: 0.7.
        window: When it acts; the authors' code: from the seventh epoch on.

    Raises:
        ValueError: An argument is out of range.
        TypeError: An argument is no number.
    """

    name = "opm"
    quantities = ("probability",)
    edits_head = True
    replaces_features = True

    draws: Draws
    _is_drawing: bool
    _acts: Tensor | None
    """Whether anything is dropped in the step, shape ``(1,)``, bool."""
    _logits: dict[str, Tensor] | None
    _applied: list[Tensor]

    def __init__(
        self,
        q_base: float = 0.5,
        lam: float = 0.5,
        p_exe: float = 0.7,
        window: WindowArgument = (6, None),
    ) -> None:
        super().__init__(window, "prob")
        hint = " (the authors: {})"
        self.q_base = check_number("q_base", q_base, 0, 1, hint.format(0.5), open_below=True)
        self.lam = check_number("lam", lam, 0, float("inf"), hint.format(0.5))
        self.p_exe = check_number("p_exe", p_exe, 0, 1, hint.format(0.7), open_below=True)
        self.add_state("draws", Draws, Lifetime.FIT, saved="always")
        self.add_state("_is_drawing", bool, Lifetime.STEP)
        self.add_state("_acts", None, Lifetime.STEP)
        self.add_state("_logits", None, Lifetime.BATCH)
        self.add_state("_applied", list, Lifetime.STEP)

    @property
    def settings(self) -> dict[str, object]:
        """Probabilities, λ and window."""
        return {
            "q_base": self.q_base,
            "lam": self.lam,
            "p_exe": self.p_exe,
            "window": self.window,
        }

    def attach(self, context: Context) -> None:
        """Draw on all processes from one seed, that of the start of training."""
        super().attach(context)
        self.draws.attach(context.processes)

    def detach(self) -> None:
        """Let go of the model."""
        super().detach()
        self.draws.detach()

    def begin_batch(self, begins_period: bool) -> None:
        """Begin to draw for another step, at its first (micro-)batch."""
        if not self._is_drawing:
            self._is_drawing = True
            self.draws.next_step()

    def features(self, inputs: HeadInputs) -> Mapping[str, Sequence[Tensor]] | None:
        """Set features of modalities that lead to zero, and scale up all that are left."""
        in_window, modalities = self.context.in_window, self.context.modalities
        if not any(in_window.values()):
            return None
        parts = {m: of for m, of in inputs.call.features().items() if of}
        device = next(iter(parts.values()))[0].device
        samples = len(inputs.target)
        with torch.no_grad():
            q = self._probabilities(inputs, device)
            drawn = self.draws.by_sample(samples, len(modalities), device)
            dropped = keep_one(drawn < q, has_by_sample(inputs, device))
            widths = [sum(z[0].numel() for z in parts.get(m, ())) for m in modalities]
            scale = opm_scale(q, widths)
        kept = without_dropped(parts, dropped, modalities)
        return {m: [z * scale.to(z) for z in of] for m, of in kept.items()}

    def unimodal_logits(self) -> Mapping[str, Tensor] | None:
        """Those that the probabilities are of, from the features before any was dropped."""
        return self._logits

    def before_backward(self, target: Tensor | None, finite: Tensor) -> None:
        """Let go of the logits, which are scored by now."""
        self._logits = None

    def edit(self, step: Step) -> Done:
        """Tell the mean probabilities of the micro-batches; edit nothing."""
        if not self._applied:
            return {"probability": torch.zeros_like(step.scores)}
        return {"probability": torch.stack(self._applied).mean(0).to(step.scores.dtype)}

    def _probabilities(self, inputs: HeadInputs, device: torch.device) -> Tensor:
        """Of each modality in this (micro-)batch of all processes, shape ``(M,)``."""
        modalities = self.context.modalities
        self._logits = inputs.call.unimodal()
        scores = StepScores(modalities, "prob", inputs.ignore_index)
        scores.ever_scored = True  # its target is checked by the engine's own, which may read it
        scores.add_loss(torch.ones((), dtype=torch.bool, device=device))
        scores.add(self._logits, inputs.target, inputs.present)
        scored = scores.over_processes(self.context.processes)
        assert scored is not None
        q = opm_probabilities(scored.scores, self.q_base, self.lam)
        if self._acts is None:
            self._acts = self.draws.of_step(device) < self.p_exe
        open_to = [torch.full_like(q[0], self.context.in_window[m]) for m in modalities]
        q = torch.where(scored.counts & self._acts, q * torch.stack(open_to), 0.0)
        self._applied.append(q)
        return q
