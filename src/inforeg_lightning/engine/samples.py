"""Logits and targets of any task as a list of samples, each with one score."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from inforeg_lightning.core._numeric import at_least_float32
from inforeg_lightning.core.scores import ordinal_levels

_CLASSES = ("log_prob", "prob")
_SUM_TOLERANCE = 1e-2


def as_samples(
    modality: str,
    logits: Tensor,
    target: Tensor,
    score: str,
    ignore_index: float,
    may_read: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Flatten tokens, pixels and labels into samples.

    Args:
        modality: Whose logits they are, for errors.
        logits: Of classes: shape ``(B, C)``, ``(B, T, C)`` or ``(B, C, H, W)``. Of ``"bce"`` and
            ``"mse"``: any. Of ``"ordinal"``: ``(..., C - 1)``, one per level.
        target: Of classes: indices of the shape of the logits without the dimension of the classes,
            or probabilities (one-hot included) of their shape. Of ``"bce"`` and ``"mse"``: the
            shape of the logits, up to dimensions of size 1. Of ``"ordinal"``: indices of the C
            classes in their order, ``(...)``.
        score: A name of :data:`~inforeg_lightning.engine.scoring.SCORES`.
        ignore_index: The target of a sample or position that counts nowhere; may be NaN.
        may_read: Whether the values of the target may be read on the host, to check them. What is
            out of range and not read makes the score NaN.

    Returns:
        Logits ``(N, C)``; class indices ``(N,)``, all in range, or else a target ``(N, C)``; and
        which of the N count, shape ``(N,)``, bool. N is B, or B times the positions or labels of a
        sample, sample by sample.

    Raises:
        ValueError: The shapes do not fit the score, or the target is out of range.
    """
    if score == "ordinal":
        target = _levels(modality, logits, target, ignore_index, may_read)
    if score not in _CLASSES:
        return _elements(modality, logits, target, score, ignore_index, may_read)
    if logits.dim() < 2 or (classes := logits.shape[_class_dim(logits, target)]) < 2:
        raise _misfit(modality, logits, target, score)
    rows = logits.movedim(_class_dim(logits, target), -1)
    if target.shape == logits.shape:
        probabilities = target.movedim(_class_dim(logits, target), -1).reshape(-1, classes)
        counted = ~_are_ignored(probabilities, ignore_index)
        probabilities = torch.where(counted[:, None], probabilities, 0).to(rows.dtype)
        if may_read:
            _check_probabilities(probabilities, counted, target)
        return rows.reshape(-1, classes), probabilities, counted
    if target.is_floating_point() or target.squeeze(-1).shape != rows.shape[:-1] != target.shape:
        raise _misfit(modality, logits, target, score)
    rows, indices = rows.reshape(-1, classes), target.reshape(-1)
    counted = ~is_ignored(indices, ignore_index)
    outside = counted & ((indices < 0) | (indices >= classes))
    if may_read:
        if outside.any():
            raise _out_of_range(indices[outside][0].item(), f"logits of {classes} classes", target)
    else:
        rows = torch.where(outside[:, None], torch.nan, rows)
    return rows, torch.where(counted & ~outside, indices, 0), counted


def mean_cross_entropy(
    modality: str,
    logits: Tensor,
    target: Tensor,
    ignore_index: float,
    present: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Cross-entropy of one modality's logits, with a graph, at least float32.

    Args:
        modality: Whose logits they are, for errors.
        logits: As for :func:`as_samples`, of classes.
        target: As for :func:`as_samples`.
        ignore_index: The target of a position that counts nowhere.
        present: Which samples have the modality, shape ``(B,)``, bool; ``None``: all.
        reduction: ``"mean"`` over the samples that count (NaN if none does), or ``"sum"``.

    Returns:
        Shape ``()``.

    Raises:
        ValueError: The shapes do not fit.
    """
    rows, target, counted = as_samples(
        modality, logits, target, "log_prob", ignore_index, may_read=False
    )
    if present is not None:
        counted = counted & among_samples(present, len(counted), modality)
    if target.dim() == 1:
        target = torch.where(counted, target, -100)
        return F.cross_entropy(at_least_float32(rows), target.long(), reduction=reduction)
    losses = F.cross_entropy(at_least_float32(rows), target, reduction="none")
    total = torch.where(counted, losses, 0.0).sum()
    return total if reduction == "sum" else total / counted.sum()


def count_samples(
    target: Tensor, logits: Tensor, ignore_index: float, present: Tensor | None = None
) -> Tensor:
    """How many samples of a classification count, shape ``()``, int64.

    Args:
        target: As for :func:`as_samples`, of classes.
        logits: As for :func:`as_samples`.
        ignore_index: The target of a position that counts nowhere.
        present: Which samples have the modality, shape ``(B,)``, bool; ``None``: all.
    """
    counted = ~is_ignored(target, ignore_index)
    if target.shape == logits.shape:
        counted = ~_are_ignored(target.movedim(_class_dim(logits, target), -1), ignore_index)
    if present is not None:
        counted = counted.reshape(len(present), -1) & present[:, None]
    return counted.sum()


def is_ignored(target: Tensor, ignore_index: float) -> Tensor:
    """Where a target counts nowhere."""
    if math.isnan(ignore_index):
        return target.isnan()
    if target.dtype == torch.uint8 and not 0 <= ignore_index <= 255:
        return torch.zeros_like(target, dtype=torch.bool)  # else -100 would wrap around to 156
    return target == ignore_index


def among_samples(present: Tensor, samples: int, modality: str) -> Tensor:
    """Which of the samples have a modality, where a sample of the batch is several of them.

    Args:
        present: Which samples of the batch have it, shape ``(B,)``, bool.
        samples: Their number N, a multiple of B.
        modality: For the error.

    Returns:
        Shape ``(N,)``, bool.

    Raises:
        ValueError: N is no multiple of B.
    """
    times, left_over = divmod(samples, max(len(present), 1))
    if left_over:
        raise ValueError(
            f"`present=` gives {modality} a mask of {len(present)} samples, but the batch has "
            f"{samples}. Give one value per sample of the batch."
        )
    return present.repeat_interleave(times)


def _are_ignored(probabilities: Tensor, ignore_index: float) -> Tensor:
    """Which rows count nowhere: all of a row is ``ignore_index``, or some of it NaN."""
    ignored = is_ignored(probabilities, ignore_index)
    return ignored.any(dim=-1) if math.isnan(ignore_index) else ignored.all(dim=-1)


def _class_dim(logits: Tensor, target: Tensor) -> int:
    """The last for ``(B, C)`` and ``(B, T, C)``; 1 in 4-D, and in 3-D where only that fits."""
    if logits.dim() == 3 and target.dim() == 2:
        return -1 if tuple(logits.shape[:2]) == tuple(target.shape) else 1
    return -1 if logits.dim() <= 3 else 1


def _elements(
    modality: str, logits: Tensor, target: Tensor, score: str, ignore_index: float, may_read: bool
) -> tuple[Tensor, Tensor, Tensor]:
    same = [n for n in logits.shape if n != 1] == [n for n in target.shape if n != 1]
    if not logits.dim() or not same:
        raise _misfit(modality, logits, target, score)
    flat = target.reshape(-1, 1)
    counted = ~is_ignored(flat, ignore_index).squeeze(1)
    flat = torch.where(counted[:, None], flat, 0)
    if score == "bce" and may_read and ((flat < 0) | (flat > 1)).any():
        wrong = flat[(flat < 0) | (flat > 1)][0].item()
        raise _out_of_range(wrong, "answers from 0 to 1", target)
    return logits.reshape(-1, 1), flat, counted


def _levels(
    modality: str, logits: Tensor, target: Tensor, ignore_index: float, may_read: bool
) -> Tensor:
    """The answers for each level; those of an ignored target are ignored, wrong ones are NaN."""
    if target.is_floating_point() or logits.shape[:-1] != target.shape:
        raise _misfit(modality, logits, target, "ordinal")
    classes = logits.shape[-1] + 1
    ignored = is_ignored(target, ignore_index)
    outside = ~ignored & ((target < 0) | (target >= classes))
    if may_read and outside.any():
        what = f"{classes - 1} logits, of {classes} classes in order"
        raise _out_of_range(target[outside][0].item(), what, target)
    levels = ordinal_levels(target, classes - 1).to(at_least_float32(logits).dtype)
    levels = torch.where(ignored.unsqueeze(-1), ignore_index, levels)
    return torch.where(outside.unsqueeze(-1), torch.nan, levels)


def _check_probabilities(probabilities: Tensor, counted: Tensor, target: Tensor) -> None:
    sums = probabilities.sum(dim=1)
    wrong = counted & (((sums - 1).abs() > _SUM_TOLERANCE) | (probabilities < 0).any(dim=1))
    if wrong.any():
        raise ValueError(
            f"`target=` leads to a tensor of the logits' shape {tuple(target.shape)}, but its rows "
            f"are no probabilities of the classes: one sums to {sums[wrong][0].item():g}. For "
            "several labels per sample pass score='bce', for regression score='mse'."
        )


def _out_of_range(value: float, what: str, target: Tensor) -> ValueError:
    return ValueError(
        f"`target=` leads to a tensor of shape {tuple(target.shape)} that holds {value:g}, but "
        f"there are {what}. Does it lead to an index of the sample, say? Pass the key, the index "
        "or a callable that finds the classes as `target=`, and the target that counts nowhere as "
        "`ignore_index=`."
    )


def _misfit(modality: str, logits: Tensor, target: Tensor, score: str) -> ValueError:
    found = (
        f"the logits of {modality} have shape {tuple(logits.shape)} and the target has shape "
        f"{tuple(target.shape)} and dtype {target.dtype}, but the score "
    )
    if score == "ordinal":
        return ValueError(
            f"{found}'ordinal' needs one logit for each level, (B, C - 1), and integer (B,). Check "
            "`target=`."
        )
    if score not in _CLASSES:
        return ValueError(f"{found}{score!r} needs both of the same shape. Check `target=`.")
    return ValueError(
        f"{found}needs (B, C) with two or more classes and integer (B,), (B, T, C) and (B, T), "
        "(B, C, H, W) and (B, H, W), or probabilities of the logits' shape. Check `target=`; pass "
        "score='bce' for one logit per answer, score='mse' for regression, or a callable "
        "`(logits, target) -> per-sample score` as `score=`."
    )
