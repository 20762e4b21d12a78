"""The cross-entropy of each modality's unimodal logits, for the methods that train with it."""

from collections.abc import Mapping

from torch import Tensor, nn

from inforeg_lightning.engine.context import Forward
from inforeg_lightning.engine.samples import mean_cross_entropy
from inforeg_lightning.engine.unimodal_heads import HeadsArgument, check_unimodal_heads


def check_flag(included: object) -> bool:
    """Check what a user writes for ``unimodal_losses_included``."""
    if not isinstance(included, bool):
        raise TypeError(f"`unimodal_losses_included` must be a bool, but is {included!r}")
    return included


def check_heads(argument: object, included: bool) -> HeadsArgument:
    """Check what a user writes for ``unimodal_heads``, beside ``unimodal_losses_included``.

    Raises:
        ValueError: The model's own loss cannot have losses of heads that are made here.
        TypeError: It is of another kind than described.
    """
    heads = check_unimodal_heads(argument)
    if included and heads == "own":
        raise ValueError(
            "unimodal_losses_included=True says that the model's own loss has the unimodal losses, "
            "which cannot be of the heads that unimodal_heads='own' makes. Say whose they are: "
            "unimodal_heads='shared' for the joint head with the features of one modality, or "
            "unimodal_heads={'audio': 'audio_classifier', ...} for heads of the model's own."
        )
    return heads


def check_one_side(model: nn.Module, method: str, included: bool) -> None:
    """Check that the unimodal losses come from one side, where the model says that it has them.

    Args:
        model: Whose ``unimodal_losses`` is looked at, if it has such an attribute.
        method: For errors.
        included: Whether the user says that the model's own loss has them.

    Raises:
        ValueError: Both sides bring them, or neither.
    """
    has = getattr(model, "unimodal_losses", None)
    if isinstance(has, bool) and has != included:
        raise ValueError(
            f"{type(model).__name__} has unimodal_losses={has}, but {method} has "
            f"unimodal_losses_included={included}. Give both the same value: with False {method} "
            "brings the unimodal losses, with True the module."
        )


def check_none_included(model: nn.Module, method: str) -> None:
    """Check that the model does not say that its own loss has the unimodal losses.

    Raises:
        ValueError: It has ``unimodal_losses=True``.
    """
    if getattr(model, "unimodal_losses", None) is True:
        raise ValueError(
            f"{type(model).__name__} has unimodal_losses=True, but {method} brings unimodal losses "
            "of its own, which would then count twice. Give the module unimodal_losses=False."
        )


def unimodal_losses(
    forward: Forward, unimodal: Mapping[str, Tensor], in_window: Mapping[str, bool]
) -> dict[str, Tensor]:
    """The losses that are minimised, each a mean over the samples that have the modality.

    Args:
        forward: The head's call.
        unimodal: Modality -> its unimodal logits, with a graph.
        in_window: Modality -> whether it has a loss.

    Returns:
        Modality in its window that the batch has -> its loss, shape ``()``. Where a mask leaves no
        sample the loss is NaN, and its gradient zero.

    Raises:
        ValueError: The logits do not fit the target.
    """
    return {
        modality: mean_cross_entropy(
            modality,
            logits,
            forward.target,
            forward.ignore_index,
            forward.present.get(modality),
        )
        for modality, logits in unimodal.items()
        if in_window[modality]
    }
