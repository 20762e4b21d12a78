"""The score of each modality over a step: all its micro-batches, on all processes."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from inforeg_lightning.core.scores import ScoreFunction, at_least_float32

_IGNORED = -100
"""PyTorch's ``ignore_index``: no class, and left out of the score."""


class StepScores:
    """Sums the scores of the samples of a step.

    Args:
        modalities: Their names, in the order of all tensors of shape ``(M,)``.
        score: ``(logits, target) -> per-sample score``.
        takes_classes: Whether the score is of logits ``(B, C)`` and class indices ``(B,)``.
        required: Whether a step without samples does not count.
    """

    def __init__(
        self,
        modalities: Sequence[str],
        score: ScoreFunction,
        takes_classes: bool,
        required: bool = True,
    ) -> None:
        self.modalities = tuple(modalities)
        self.score = score
        self.takes_classes = takes_classes
        self.required = required
        self.by_mean = True
        self.ever_scored = False
        self._dtype = torch.float32
        self.forget()

    def forget(self) -> None:
        """Begin another step."""
        self._sums: Tensor | None = None
        self._finite: Tensor | None = None
        self._result: tuple[Tensor, Tensor] | None = None

    def add(self, logits: Mapping[str, Tensor], target: Tensor) -> None:
        """Add the unimodal logits of a (micro-)batch.

        Raises:
            ValueError: Logits or target are not of the shape that the score takes, or it returns
                something else than one value a sample.
        """
        with torch.no_grad():
            scores = torch.stack([self._score_of(m, logits[m], target) for m in self.modalities])
            counted = torch.ones_like(scores[0])
            if self.takes_classes:
                counted = (target != _IGNORED).to(scores.dtype)
                scores = torch.where(target != _IGNORED, scores, 0.0)
            sums = torch.cat([scores.sum(dim=1), counted.sum().reshape(1)])
        self._sums = sums if self._sums is None else self._sums + sums
        self._dtype, self.ever_scored, self._result = sums.dtype, True, None

    def add_loss(self, loss: Tensor) -> None:
        """Note whether the loss of a (micro-)batch is finite, without reading it."""
        finite = torch.isfinite(loss.detach()).all()
        self._finite = finite if self._finite is None else self._finite & finite
        self._result = None

    def over_processes(self, add_up: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor] | None:
        """The scores of the step and whether it counts.

        Args:
            add_up: Sums a tensor over the processes.

        Returns:
            ``(scores, counts)``: shape ``(M,)``, and shape ``()`` bool, false if a loss or score is
            not finite on any process or no sample was scored. ``None`` if there was no loss.
        """
        if self._finite is None:
            return None
        if self._result is None:
            # One process's infinite loss may leave every gradient finite: all must hear of it.
            infinite = (~self._finite).to(self._dtype).reshape(1)
            none = torch.zeros(len(self.modalities) + 1, dtype=self._dtype, device=infinite.device)
            total = add_up(torch.cat([none if self._sums is None else self._sums, infinite]))
            samples, infinite = total[-2], total[-1]
            # Without a sample this is NaN, which the period leaves out.
            scores = total[:-2] / samples if self.by_mean else total[:-2]
            finite = torch.isfinite(scores).all()
            scored = (samples > 0) & finite if self.required else (samples == 0) | finite
            counts = (infinite == 0) & scored
            self._result = scores, counts
        return self._result

    def _score_of(self, modality: str, logits: Tensor, target: Tensor) -> Tensor:
        if self.takes_classes:
            check_classes(modality, logits, target)
        score = self.score(logits, target)
        if not isinstance(score, Tensor) or score.dim() != 1:
            found = tuple(score.shape) if isinstance(score, Tensor) else type(score).__name__
            raise ValueError(
                f"`score` must return one value a sample, shape (B,), but for {modality} it "
                f"returned {found}"
            )
        # A half-precision sum over a batch would lose small gaps, or overflow.
        return at_least_float32(score)


def check_classes(modality: str, logits: Tensor, target: Tensor) -> None:
    """Check that logits and target are those of a classification."""
    if (
        logits.dim() != 2
        or logits.shape[1] < 2
        or target.is_floating_point()
        or tuple(target.shape) != (len(logits),)
    ):
        raise ValueError(
            f"the logits of {modality} have shape {tuple(logits.shape)} and the target has shape "
            f"{tuple(target.shape)} and dtype {target.dtype}, but the score needs (B, C) with two "
            "or more classes and integer (B,). Pass a callable `(logits, target) -> per-sample "
            "score` as `score=` for other tasks."
        )


def sum_dtype(device: torch.device) -> torch.dtype:
    """In what sums over many batches are kept: the same on all processes, whatever they train in.

    Half a billion steps of float32 sums would still do; MPS has nothing better.
    """
    return torch.float32 if device.type == "mps" else torch.float64
