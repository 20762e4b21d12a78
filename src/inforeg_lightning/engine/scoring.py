"""The score of each modality over a step: all its micro-batches, on all processes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from inforeg_lightning.core._numeric import at_least_float32
from inforeg_lightning.core.scores import (
    ScoreFunction,
    binary_log_probability,
    log_probability,
    negative_squared_error,
    probability,
)
from inforeg_lightning.engine.distributed import Processes
from inforeg_lightning.engine.samples import among_samples, as_samples, is_ignored

SCORES: Mapping[str, ScoreFunction] = {
    "log_prob": log_probability,
    "prob": probability,
    "bce": binary_log_probability,
    "ordinal": binary_log_probability,
    "mse": negative_squared_error,
}
"""The scores that a user may name."""


@dataclass(frozen=True)
class Scored:
    """The scores of a step; all tensors on the device of the logits.

    Args:
        scores: Shape ``(M,)``; NaN for a modality that no sample has.
        present: Whether a sample has the modality, shape ``(M,)``, bool; true if nothing was
            scored.
        dilution: All samples by those that have the modality, shape ``(M,)``, at least 1; 1 where
            none has.
        counts: Whether the step does, shape ``()``, bool: no loss or score is infinite on any
            process, and a sample was scored.
    """

    scores: Tensor
    present: Tensor
    dilution: Tensor
    counts: Tensor


class StepScores:
    """Sums the scores of the samples of a step.

    Args:
        modalities: Their names, in the order of all tensors of shape ``(M,)``.
        score: A name of ``SCORES``, or ``(logits, target) -> per-sample score``.
        ignore_index: The target of a sample or position that counts nowhere.
        required: Whether a step without samples does not count.
        by_mean: Whether the score is the mean over the samples, not their sum.
        floor: What a smaller score of a sample counts as.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        score: str | ScoreFunction,
        ignore_index: float = -100,
        required: bool = True,
        by_mean: bool = True,
        floor: float | None = None,
    ) -> None:
        self.modalities = tuple(modalities)
        self.score = score
        self.ignore_index = ignore_index
        self.required = required
        self.by_mean = by_mean
        self.floor = floor
        self.ever_scored = False
        self._dtype = torch.float32
        self.forget()

    def forget(self) -> None:
        """Begin another step."""
        self._sums: Tensor | None = None
        self._finite: Tensor | None = None
        self._result: Scored | None = None

    def add(
        self,
        logits: Mapping[str, Tensor],
        target: Tensor,
        present: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Add the unimodal logits of a (micro-)batch.

        Args:
            logits: Modality -> logits; one that the batch does not have is left out.
            target: Of the batch.
            present: Modality -> which samples have it, shape ``(B,)``, bool.

        Raises:
            ValueError: Logits or target are not of the shape that the score takes, or it returns
                something else than one value per sample.
        """
        with torch.no_grad():
            found = {
                m: self._score_of(m, logits[m], target, (present or {}).get(m))
                for m in self.modalities
                if m in logits
            }
            total = next(iter(found.values()))[2]
            zero = torch.zeros_like(total)
            scores = [found[m][0] if m in found else zero for m in self.modalities]
            counts = [found[m][1] if m in found else zero for m in self.modalities]
            sums = torch.stack([*scores, *counts, total])
        self._sums = sums if self._sums is None else self._sums + sums
        self._dtype, self.ever_scored, self._result = sums.dtype, True, None

    def add_loss(self, finite: Tensor) -> None:
        """Note whether the loss of a (micro-)batch is finite, shape ``()``, without reading it."""
        self._finite = finite if self._finite is None else self._finite & finite
        self._result = None

    @property
    def has_loss(self) -> bool:
        """Whether there was a loss since the last step."""
        return self._finite is not None

    def over_processes(self, processes: Processes) -> Scored | None:
        """The scores of the step, ``None`` if there was no loss."""
        if self._finite is None:
            return None
        if self._result is None:
            # One process's infinite loss may leave every gradient finite: all must hear of it.
            infinite = (~self._finite).to(self._dtype).reshape(1)
            none = torch.zeros(
                2 * len(self.modalities) + 1, dtype=self._dtype, device=infinite.device
            )
            mine = none if self._sums is None else self._sums
            total = processes.sum(torch.cat([mine, infinite]))
            self._result = self._conclude(*torch.split(total, [len(self.modalities)] * 2 + [1, 1]))
        return self._result

    def _conclude(self, sums: Tensor, counts: Tensor, samples: Tensor, infinite: Tensor) -> Scored:
        present = (counts > 0) | (samples == 0)
        # Without a sample this is NaN, which the period leaves out.
        scores = torch.where(counts > 0, sums / counts if self.by_mean else sums, torch.nan)
        finite = (torch.isfinite(scores) | (counts == 0)).all()
        scored = (samples[0] > 0) & finite if self.required else finite
        dilution = torch.where(counts > 0, samples / counts, 1.0)
        return Scored(scores, present, dilution, (infinite[0] == 0) & scored)

    def _score_of(
        self, modality: str, logits: Tensor, target: Tensor, present: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The sum of the scores, how many samples have one, and how many have a target."""
        if isinstance(self.score, str):
            logits, target, counted = as_samples(
                modality,
                logits,
                target,
                self.score,
                self.ignore_index,
                may_read=not self.ever_scored,
            )
            score = SCORES[self.score](logits, target)
        else:
            score = self.score(logits, target)
            if not isinstance(score, Tensor) or score.dim() != 1:
                found = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
                raise ValueError(
                    "`score` must return one value per sample, shape (B,), but for "
                    f"{modality} it returned {found}"
                )
            counted = torch.ones_like(score, dtype=torch.bool)
            if target.shape == score.shape and not target.is_floating_point():
                counted = ~is_ignored(target, self.ignore_index)
        # A half-precision sum over a batch would lose small gaps, or overflow.
        score = at_least_float32(score)
        if self.floor is not None:
            score = score.clamp(min=self.floor)
        scored = counted
        if present is not None:
            scored = counted & among_samples(present, len(counted), modality)
        sums = torch.where(scored, score, 0.0).sum()
        return sums, scored.sum().to(score.dtype), counted.sum().to(score.dtype)
