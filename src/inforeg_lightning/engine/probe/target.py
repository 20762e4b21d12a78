"""Where in a batch the target stands, and which samples have which modality."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

Target = int | str | Callable[[Any], Tensor] | None
"""A key, an index, an attribute or a callable; ``None`` for the usual place."""

Present = int | str | Callable[[Any], Mapping[str, Tensor]] | None
"""The same, of a mapping modality -> which samples have it; ``None`` if all samples have all."""


def find_target(batch: Any, target: Target) -> Tensor:
    """Find the target of a batch.

    Args:
        batch: What the data loader yields, on its device.
        target: A key, an index, an attribute or a callable; ``None`` for the key ``"label"`` of a
            mapping or the last element of a sequence.

    Returns:
        The target, a tensor.

    Raises:
        ValueError: There is no such thing in the batch.
    """
    found = _find(batch, target, "label", -1, "target", "class indices")
    if not isinstance(found, Tensor):
        raise ValueError(
            f"`target={target!r}` must lead to a tensor of class indices, but leads to "
            f"{type(found).__name__}. Pass the key, the index or a callable as `target=`."
        )
    return found


def find_present(batch: Any, present: Present, modalities: Sequence[str]) -> dict[str, Tensor]:
    """Find which samples of a batch have which modality.

    Args:
        batch: What the data loader yields, on its device.
        present: A key, an index, an attribute or a callable; ``None`` if all samples have all.
        modalities: All of them.

    Returns:
        Modality -> shape ``(B,)``, bool; those that all samples have may be left out.

    Raises:
        ValueError: There is no such thing in the batch.
    """
    if present is None:
        return {}
    found = _find(batch, present, "present", -1, "present", "{modality: bool mask (B,)}")
    return check_present(found, modalities)


def check_present(present: Any, modalities: Sequence[str]) -> dict[str, Tensor]:
    """Check a mapping modality -> which samples have it.

    Raises:
        ValueError: It is not of these modalities, or not of boolean masks.
    """
    if not isinstance(present, Mapping) or not set(present) <= set(modalities):
        found = [*present] if isinstance(present, Mapping) else type(present).__name__
        raise ValueError(
            f"`present=` must lead to a mapping from some of {[*modalities]} to boolean masks, but "
            f"leads to {found}"
        )
    for modality, mask in present.items():
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.dim() != 1:
            found = (
                f"shape {tuple(mask.shape)}, {mask.dtype}"
                if isinstance(mask, Tensor)
                else type(mask).__name__
            )
            raise ValueError(
                f"`present=` must give {modality} a tensor of shape (B,), torch.bool, but gives "
                f"{found}"
            )
    return dict(present)


def _find(batch: Any, where: Any, key: str, index: int, argument: str, what: str) -> Any:
    if callable(where):
        return where(batch)
    if isinstance(batch, Mapping):
        place, has = key if where is None else where, f"a mapping with keys {[*batch]}"
    elif isinstance(batch, Sequence) and not isinstance(batch, str):
        place, has = index if where is None else where, f"a sequence of {len(batch)} elements"
    else:
        place, has = where, f"of type {type(batch).__name__}"
    try:
        if isinstance(place, str) and not isinstance(batch, Mapping):
            return getattr(batch, place)  # a dataclass or a named tuple
        return batch[place]
    except (KeyError, IndexError, TypeError, AttributeError):
        raise ValueError(
            f"`{argument}={where!r}` is not found: the batch is {has}. Pass the key, the index or "
            f"a callable `batch -> {what}` as `{argument}=`."
        ) from None
