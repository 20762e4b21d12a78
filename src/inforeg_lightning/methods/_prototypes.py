"""What PMR asks of a batch, of other processes and of a user: classes, features, sums, counts."""

import operator

import torch
from torch import Tensor

from inforeg_lightning.core._numeric import at_least_float32
from inforeg_lightning.engine.checks import shown
from inforeg_lightning.engine.context import Forward
from inforeg_lightning.engine.distributed import Processes
from inforeg_lightning.engine.samples import is_ignored


def class_indices(forward: Forward, name: str, head_path: str | None) -> Tensor:
    """Class indices of the batch, shape ``(B,)``; -1 for a sample that counts nowhere."""
    output, target = forward.output, forward.target
    indices = target.squeeze(-1) if target.dim() == 2 else target
    fits = output.dim() == 2 and tuple(indices.shape) == (len(output),)
    if not fits or indices.is_floating_point():
        raise ValueError(
            f"{name} needs class indices (B,) and logits (B, C), but `target=` "
            f"leads to a tensor of shape {tuple(target.shape)} and dtype {target.dtype}, and "
            f"`head={head_path!r}` returns {tuple(output.shape)}. Pass as "
            "`target=` what finds one class per sample, and as `head=` the module that makes "
            "their logits; for other tasks use another method."
        )
    counted = ~is_ignored(indices, forward.ignore_index)
    # What is out of range is an error of the score's, which follows.
    counted = counted & (indices >= 0) & (indices < output.shape[1])
    return torch.where(counted, indices.long(), -1)


def flat_features(forward: Forward, name: str) -> dict[str, Tensor]:
    """Modality that the batch has -> its features, shape ``(B, D_m)``, at least float32."""
    flat = {}
    features, samples = forward.call.features(), len(forward.output)
    for modality in forward.call.present:
        parts = features[modality]
        if any(part.dim() < 2 or len(part) != samples for part in parts):
            raise ValueError(
                f"{name} needs features (B, ...) of one sample per row, but with "
                f"{samples} targets those of {modality} have shapes "
                f"{[tuple(part.shape) for part in parts]}. Pool them before the head."
            )
        flat[modality] = at_least_float32(torch.cat([p.flatten(1) for p in parts], dim=1))
    return flat


def sum_over(processes: Processes, totals: Tensor | None, device: torch.device) -> Tensor | None:
    """The sum over processes, of which some may not have seen the modality; ``None`` if none has.

    The others first have to be told how large it is.
    """
    found = (0, 0, 0, 0) if totals is None else (1, *totals.shape, totals.dtype == torch.float64)
    has, classes, width, doubles = processes.sum(torch.tensor(found, device=device)).tolist()
    if not has:
        return None
    if totals is None:
        dtype = torch.float64 if doubles else torch.float32
        totals = torch.zeros(classes // has, width // has, dtype=dtype, device=device)
    return processes.sum(totals.clone())


def of_present(classes: Tensor, present: Tensor | None) -> Tensor:
    """Class indices, -1 for samples without the modality."""
    return classes if present is None else torch.where(present, classes, -1)


def check_periods(periods: object) -> int:
    try:
        count = -1 if isinstance(periods, bool) else operator.index(periods)  # type: ignore[arg-type]
    except TypeError:
        count = -1
    if count < 0:
        raise ValueError(
            f"`entropy_periods` must be a number of periods from 0, but is {shown(periods)}"
        )
    return count
