"""What a network is trained for: outputs, loss, predictions and metrics of each kind of target."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import (
    CohenKappa,
    JaccardIndex,
    MeanAbsoluteError,
    MeanSquaredError,
    Metric,
    PearsonCorrCoef,
)
from torchmetrics.classification import (
    BinaryAccuracy,
    BinaryAUROC,
    BinaryF1Score,
    MulticlassAccuracy,
    MultilabelAccuracy,
    MultilabelAveragePrecision,
    MultilabelF1Score,
)

from inforeg_lightning.core.scores import ordinal_levels

IGNORED = -100
"""The label of a token or pixel that counts nowhere, as in torch's cross-entropy."""


@dataclass(frozen=True)
class Task:
    """One kind of target.

    Attributes:
        score: The score of the callbacks that have ``score=``, by its name there.
        metric: The metric by which validation chooses and reports compare, a key of ``metrics``.
        loss: Of outputs and labels, shape ``()``.
        predict: From outputs to what the metrics take.
        metrics: From the number of classes to name -> a new metric; ``metric`` is the first.
        outputs: From the number of classes to the width of the output.
        least: The least number of classes.
        dim: Which dimension of features and outputs is theirs: 1 or the last.
    """

    score: str
    metric: str
    loss: Callable[[Tensor, Tensor], Tensor]
    predict: Callable[[Tensor], Tensor]
    metrics: Callable[[int], dict[str, Metric]]
    outputs: Callable[[int], int] = int
    least: int = 2
    dim: int = -1


def _dense_loss(outputs: Tensor, label: Tensor, dim: int) -> Tensor:
    return F.cross_entropy(outputs.movedim(dim, 1), label, ignore_index=IGNORED)


def _binary_loss(outputs: Tensor, label: Tensor) -> Tensor:
    wanted = label.reshape(outputs.shape).to(outputs.dtype)
    return F.binary_cross_entropy_with_logits(outputs, wanted)


def _ordinal_loss(outputs: Tensor, label: Tensor) -> Tensor:
    return _binary_loss(outputs, ordinal_levels(label, outputs.shape[-1]))


def _squared_loss(outputs: Tensor, label: Tensor) -> Tensor:
    return F.mse_loss(outputs, label.reshape(outputs.shape).to(outputs.dtype))


def _as_is(outputs: Tensor) -> Tensor:
    return outputs


def _regression_metrics(width: int) -> dict[str, Metric]:
    found: dict[str, Metric] = {
        "mae": MeanAbsoluteError(),
        "rmse": MeanSquaredError(squared=False),
    }
    # Of several outputs it would be several numbers.
    return found | ({"correlation": PearsonCorrCoef()} if width == 1 else {})


TASKS: Mapping[str, Task] = {
    "classes": Task(
        score="log_prob",
        metric="accuracy",
        loss=F.cross_entropy,
        predict=_as_is,
        # validate_args costs a host read a batch; the labels are checked by the loss anyway.
        metrics=lambda classes: {
            "accuracy": MulticlassAccuracy(classes, average="micro", validate_args=False)
        },
    ),
    "binary": Task(
        score="bce",
        metric="accuracy",
        loss=_binary_loss,
        predict=lambda outputs: outputs.squeeze(-1).sigmoid(),
        metrics=lambda _: {
            "accuracy": BinaryAccuracy(),
            "auroc": BinaryAUROC(),
            "f1": BinaryF1Score(),
        },
        outputs=lambda _: 1,
    ),
    "multilabel": Task(
        score="bce",
        metric="accuracy",
        loss=_binary_loss,
        predict=torch.sigmoid,
        metrics=lambda labels: {
            "accuracy": MultilabelAccuracy(labels, average="micro"),
            "macro_f1": MultilabelF1Score(labels, average="macro"),
            "average_precision": MultilabelAveragePrecision(labels, average="micro"),
        },
    ),
    "ordinal": Task(
        score="ordinal",
        metric="mae",
        loss=_ordinal_loss,
        predict=lambda outputs: (outputs > 0).sum(dim=-1),
        metrics=lambda classes: {
            "mae": MeanAbsoluteError(),
            "accuracy": MulticlassAccuracy(classes, average="micro"),
            "kappa": CohenKappa("multiclass", num_classes=classes, weights="quadratic"),
        },
        outputs=lambda classes: classes - 1,
    ),
    "regression": Task(
        score="mse",
        metric="mae",
        loss=_squared_loss,
        predict=lambda outputs: outputs.squeeze(-1) if outputs.shape[-1] == 1 else outputs,
        metrics=_regression_metrics,
        least=1,
    ),
    "tokens": Task(
        score="log_prob",
        metric="accuracy",
        loss=partial(_dense_loss, dim=-1),
        predict=lambda outputs: outputs.movedim(-1, 1),
        metrics=lambda classes: {
            "accuracy": MulticlassAccuracy(classes, average="micro", ignore_index=IGNORED)
        },
    ),
    "pixels": Task(
        score="log_prob",
        metric="iou",
        loss=partial(_dense_loss, dim=1),
        predict=_as_is,
        metrics=lambda classes: {
            "iou": JaccardIndex("multiclass", num_classes=classes, ignore_index=IGNORED),
            "accuracy": MulticlassAccuracy(classes, average="micro", ignore_index=IGNORED),
        },
        dim=1,
    ),
}
"""Name -> task. The target of each, ``label`` in a batch, and what the network returns for it:

- ``classes``: one of C, int64 ``(B,)``; logits ``(B, C)``.
- ``binary``: no or yes, 0 or 1, ``(B,)``; one logit ``(B, 1)``.
- ``multilabel``: L answers of 0 or 1, ``(B, L)``; logits ``(B, L)``.
- ``ordinal``: one of C in order, int64 ``(B,)``; C − 1 logits of "the label is above k", ``(B, C −
  1)``; the loss is the mean of their binary cross-entropies (Frank and Hall, ECML 2001; Niu et al.,
  CVPR 2016), and the prediction the number of those above 0.
- ``regression``: D numbers, floating ``(B, D)`` or, of one, ``(B,)``; ``(B, D)``, by the mean
  squared error.
- ``tokens``: one of C at each of T places, int64 ``(B, T)``; logits ``(B, T, C)`` of features
  ``(B, T, D)``.
- ``pixels``: one of C at each pixel, int64 ``(B, H, W)``; logits ``(B, C, H, W)`` of features
  ``(B, D, H, W)``.

``num_classes`` of the network is C, 2, L, C, D, C and C.
"""


def find_task(name: str, num_classes: int) -> Task:
    """The task of a name.

    Raises:
        ValueError: There is none, or it does not have so few classes.
    """
    if name not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {name!r}")
    task = TASKS[name]
    if num_classes < task.least:
        raise ValueError(
            f"num_classes must be at least {task.least}, got {num_classes}"
            + (f" (task={name!r})" if name != "classes" else "")
        )
    return task
