"""Modality dropout: each sample loses one modality now and then, at the head."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from inforeg_lightning.core.modality_dropout import dropped_modality, keep_one
from inforeg_lightning.core.scores import ScoreFunction
from inforeg_lightning.core.window import Window
from inforeg_lightning.engine.book.state import Lifetime
from inforeg_lightning.engine.checks import check_number, shown
from inforeg_lightning.engine.context import Context, HeadInputs
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.methods._dropping import Draws, has_by_sample, without_dropped


class ModalityDropout(Method):
    """Set the features of one modality to zero for some samples (as Shi et al., ICLR 2022).

    See :class:`~inforeg_lightning.callbacks.ModalityDropoutCallback` for what it does, and for what
    ``history`` holds.

    Args:
        p: How probably a sample loses a modality, or modality -> how probably it is lost.
        per: ``"sample"``, or ``"step"``: all samples of an optimiser step lose the same one.
        window: When it acts.
        score: What ``history`` measures, as for :class:`~inforeg_lightning.methods.InfoReg`; it
            changes nothing else.

    Raises:
        ValueError: ``p`` is out of range or of other modalities, or ``per`` is neither.
        TypeError: ``p`` is no number.
    """

    name = "modality_dropout"
    edits_head = True
    replaces_features = True

    draws: Draws
    _is_drawing: bool
    _of_step: Tensor | None

    def __init__(
        self,
        p: float | Mapping[str, float] = 0.5,
        per: str = "sample",
        window: WindowArgument = "always",
        score: str | ScoreFunction = "log_prob",
    ) -> None:
        super().__init__(window, score)
        self.p: float | dict[str, float]
        if isinstance(p, Mapping):
            self.p = {m: _check(f"p[{m!r}]", q) for m, q in p.items()}
        else:
            self.p = _check("p", p)
        if per not in ("sample", "step"):
            raise ValueError(f"`per` must be 'sample' or 'step', but is {shown(per)}")
        self.per = per
        self._probabilities: tuple[float, ...] = ()
        self.add_state("draws", Draws, Lifetime.FIT, saved="always")
        self.add_state("_is_drawing", bool, Lifetime.STEP)
        self.add_state("_of_step", None, Lifetime.STEP)

    @property
    def settings(self) -> dict[str, object]:
        """Probabilities, what is drawn for, and window."""
        return {"p": self.p, "per": self.per, "window": self.window}

    def make_window(self, modalities: tuple[str, ...]) -> Window:
        """The window; the probabilities are checked here, now that the modalities are known."""
        if isinstance(self.p, dict):
            if unknown := [m for m in self.p if m not in modalities]:
                raise ValueError(
                    f"`p` has {unknown}, but `encoders` has {[*modalities]}. Name its modalities."
                )
            self._probabilities = tuple(self.p.get(m, 0.0) for m in modalities)
        else:
            self._probabilities = (self.p / len(modalities),) * len(modalities)
        if sum(self._probabilities) > 1 + 1e-9:
            raise ValueError(
                f"`p` must add up to 1 at most, since a sample loses one modality, but is {self.p}"
            )
        return super().make_window(modalities)

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
        """Set to zero what each sample loses."""
        acting = [m for m in inputs.call.present if self.context.in_window[m]]
        if not acting:
            return None
        parts = inputs.call.features()
        device = parts[acting[0]][0].device
        samples = len(inputs.target)
        dropped = dropped_modality(self._uniform(samples, device), self._probabilities)
        dropped = keep_one(dropped.expand(samples, -1), has_by_sample(inputs, device))
        return without_dropped({m: parts[m] for m in acting}, dropped, self.context.modalities)

    def _uniform(self, samples: int, device: torch.device) -> Tensor:
        if self.per == "sample":
            return self.draws.by_sample(samples, 1, device)[:, 0]
        if self._of_step is None:
            self._of_step = self.draws.of_step(device)
        return self._of_step


def _check(name: str, p: object) -> float:
    return check_number(name, p, 0, 1, " (AV-HuBERT: 0.5)")
