"""Classes and flat features of a batch, for the methods that look at features class by class."""

import torch
from torch import Tensor

from inforeg_lightning.core._numeric import at_least_float32
from inforeg_lightning.engine.context import Context, Forward
from inforeg_lightning.engine.samples import is_ignored


def class_indices(forward: Forward, context: Context) -> Tensor:
    """Class indices of the batch, shape ``(B,)``; -1 for a sample that counts nowhere.

    Raises:
        ValueError: The target is not one class per sample.
    """
    output, target = forward.output, forward.target
    indices = target.squeeze(-1) if target.dim() == 2 else target
    fits = output.dim() == 2 and tuple(indices.shape) == (len(output),)
    if not fits or indices.is_floating_point():
        raise ValueError(
            f"{context.name} needs class indices (B,) and logits (B, C), but `target=` "
            f"leads to a tensor of shape {tuple(target.shape)} and dtype {target.dtype}, and "
            f"`head={context.head_path!r}` returns {tuple(output.shape)}. Pass as "
            "`target=` what finds one class per sample, and as `head=` the module that makes "
            "their logits; for other tasks use another method."
        )
    counted = ~is_ignored(indices, forward.ignore_index)
    # What is out of range is an error of the score's, which follows.
    counted = counted & (indices >= 0) & (indices < output.shape[1])
    return torch.where(counted, indices.long(), -1)


def flat_features(forward: Forward, context: Context) -> dict[str, Tensor]:
    """Modality that the batch has -> its features, shape ``(B, D_m)``, at least float32.

    Raises:
        ValueError: A feature has not one row per sample.
    """
    flat = {}
    features, samples = forward.call.features(), len(forward.output)
    for modality in forward.call.present:
        parts = features[modality]
        if any(part.dim() < 2 or len(part) != samples for part in parts):
            raise ValueError(
                f"{context.name} needs features (B, ...) of one sample per row, but with "
                f"{samples} targets those of {modality} have shapes "
                f"{[tuple(part.shape) for part in parts]}. Pool them before the head."
            )
        flat[modality] = at_least_float32(torch.cat([p.flatten(1) for p in parts], dim=1))
    return flat


def of_present(classes: Tensor, present: Tensor | None) -> Tensor:
    """Class indices, -1 for samples without the modality."""
    return classes if present is None else torch.where(present, classes, -1)
