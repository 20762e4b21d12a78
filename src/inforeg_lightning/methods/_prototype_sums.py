"""What PMR asks of other processes and of a user: sums of features, a number of periods."""

import operator

import torch
from torch import Tensor

from inforeg_lightning.engine.checks import shown
from inforeg_lightning.engine.distributed import Processes


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


def check_periods(periods: object) -> int:
    """Check what a user writes for ``entropy_periods``."""
    try:
        count = -1 if isinstance(periods, bool) else operator.index(periods)  # type: ignore[arg-type]
    except TypeError:
        count = -1
    if count < 0:
        raise ValueError(
            f"`entropy_periods` must be a number of periods from 0, but is {shown(periods)}"
        )
    return count
