"""What each modality is worth alone, and how far apart they lie; in the form of torchmetrics."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import (
    BinaryAccuracy,
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassF1Score,
)


def imbalance(accuracies: Mapping[str, float]) -> float:
    """By how much the best modality is ahead of the worst: max − min.

    Args:
        accuracies: Modality -> its accuracy, two or more, all in the same unit.

    Returns:
        The difference in that unit, >= 0.

    Raises:
        ValueError: Fewer than two modalities.
    """
    if len(accuracies) < 2:
        raise ValueError(
            f"`accuracies` must hold two or more modalities, but holds {[*accuracies]}: one alone "
            "is neither ahead nor behind."
        )
    return max(accuracies.values()) - min(accuracies.values())


class UnimodalAccuracy(Metric):
    """Accuracy of each modality's unimodal logits, over all batches and processes.

    ``update(logits, target)`` takes modality -> logits ``(B, C)`` and class indices ``(B,)``;
    ``compute()`` returns modality -> fraction, shape ``()``, NaN before the first sample. Targets
    of -100 (``ignore_index``) are left out.

    Args:
        modalities: Their names.

    Raises:
        ValueError: Fewer than two modalities; in ``update``, logits of others.

    Example::

        self.unimodal = UnimodalAccuracy(["audio", "video"])
        ...
        self.unimodal.update({"audio": logits_a, "video": logits_v}, label)
        self.log_dict({f"accuracy_{m}": x for m, x in self.unimodal.compute().items()})
    """

    correct: Tensor
    counted: Tensor

    def __init__(self, modalities: Iterable[str]) -> None:
        super().__init__()
        self.modalities = tuple(modalities)
        if len(self.modalities) < 2:
            raise ValueError(
                f"`modalities` must name two or more, but names {[*self.modalities]}. Use "
                "torchmetrics' MulticlassAccuracy for one."
            )
        zeros = torch.zeros(len(self.modalities), dtype=torch.int64)
        self.add_state("correct", zeros, dist_reduce_fx="sum")
        self.add_state("counted", zeros.sum(), dist_reduce_fx="sum")

    def update(self, logits: Mapping[str, Tensor], target: Tensor) -> None:
        """Count the samples of a batch; without reading anything on the host."""
        if set(logits) != set(self.modalities):
            raise ValueError(
                f"`logits` must be of {sorted(self.modalities)}, but are of {sorted(logits)}"
            )
        hits = torch.stack([logits[m].argmax(dim=-1) == target for m in self.modalities])
        self.correct += hits.sum(dim=1)
        self.counted += (target != -100).sum()

    def compute(self) -> dict[str, Tensor]:
        """Modality -> accuracy."""
        return dict(zip(self.modalities, (self.correct / self.counted).unbind(), strict=True))


class Imbalance(UnimodalAccuracy):
    """By how much the best modality's accuracy is ahead of the worst's, as :func:`imbalance`.

    Args and ``update`` are those of :class:`UnimodalAccuracy`; ``compute()`` returns a fraction,
    shape ``()``.
    """

    def compute(self) -> Tensor:  # type: ignore[override]
        """Max − min of the accuracies."""
        accuracies = self.correct / self.counted
        return accuracies.max() - accuracies.min()


class ClassAUROC(MulticlassAUROC):
    """The area under the ROC curve of logits of classes; of two classes the usual binary one.

    ``update(logits, target)`` takes logits ``(B, C)``, also those that lie between 0 and 1, and
    class indices ``(B,)``. Arguments are those of torchmetrics' ``MulticlassAUROC``.
    """

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        super().update(preds.softmax(dim=1), target)


class SevenClassAccuracy(MulticlassAccuracy):
    """Acc-7 of a sentiment from -3 to 3: how often both numbers round to the same class.

    As MMSA has it (``MetricsTop``): clipped to ±3 and rounded, half to even. ``update(preds,
    target)`` takes numbers ``(B,)``.
    """

    def __init__(self) -> None:
        super().__init__(7, average="micro")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        super().update(*((x.clamp(-3, 3).round() + 3).long() for x in (preds, target)))


class SignAccuracy(BinaryAccuracy):
    """Acc-2 of a sentiment: how often the sign is right, of targets that are not 0.

    As MMSA's ``Non0_acc_2`` and MultiBench's ``eval_affect``. ``update(preds, target)`` takes
    numbers ``(B,)``.
    """

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        super().update(*_signs(preds, target))


class SignF1(MulticlassF1Score):
    """F1 of the sign of a sentiment, weighted by the classes' sizes, of targets that are not 0.

    As MMSA's ``Non0_F1_score``. ``update(preds, target)`` takes numbers ``(B,)``.
    """

    def __init__(self) -> None:
        super().__init__(2, average="weighted")

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add a batch."""
        super().update(*_signs(preds, target))


def _signs(preds: Tensor, target: Tensor) -> tuple[Any, Any]:
    signed = target != 0
    return (preds[signed] > 0).long(), (target[signed] > 0).long()
