"""Anchors: the weights of an encoder when a period began, for methods that pull towards them."""

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from inforeg_lightning.core._dtensor import split_like
from inforeg_lightning.engine.encoder import Encoder

Anchors = dict[int, Tensor]
"""The index of a parameter in its encoder -> what it was when the period began."""


def anchors_of(
    encoder: Encoder, anchors: Anchors, parameters: Sequence[nn.Parameter]
) -> list[Tensor]:
    """Those of some parameters, which are copied at their first gradient of a period.

    No earlier step of the period has moved such a parameter, and one that is unfrozen during
    training gets its own.
    """
    indices = [encoder.index[id(parameter)] for parameter in parameters]
    for index, parameter in zip(indices, parameters, strict=True):
        if index not in anchors:
            anchors[index] = parameter.detach().clone()
    return [anchors[index] for index in indices]


def placed(anchors: Mapping[int, Tensor], encoder: Encoder) -> Anchors:
    """Anchors on the device of their parameters, and in parts where these are.

    Raises:
        ValueError: They are not of this encoder.
    """
    placed: Anchors = {}
    for index, anchor in anchors.items():
        if index >= len(encoder.parameters) or encoder.parameters[index].shape != anchor.shape:
            raise ValueError(
                f"the checkpoint's anchor {index} has shape {tuple(anchor.shape)}, but the "
                "encoder has no such parameter. Resume with the module that was trained."
            )
        placed[index] = split_like(anchor, encoder.parameters[index])
    return placed
