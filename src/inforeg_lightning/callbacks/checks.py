"""What can be checked before the first step, each with one clear error."""

from collections.abc import Mapping, Sequence
from operator import attrgetter

from torch import nn


def check_encoders(encoders: Mapping[str, str | Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Check what a user writes for ``encoders``, and return a tuple of paths a modality."""
    if not isinstance(encoders, Mapping):
        raise TypeError(
            "`encoders` must map modality names to attribute paths, for example "
            f'{{"audio": "audio_encoder", "video": "video_encoder"}}, but is {encoders!r}'
        )
    if len(encoders) < 2:
        raise ValueError(
            f"`encoders` must name two or more modalities, but names {len(encoders)}: "
            f"{[*encoders]}. Balancing needs something to balance."
        )
    checked = {
        modality: tuple(paths)
        if isinstance(paths, Sequence) and not isinstance(paths, str)
        else (paths,)
        for modality, paths in encoders.items()
    }
    for modality, paths in checked.items():
        if not paths or not all(isinstance(path, str) and path for path in paths):
            raise TypeError(
                f"`encoders[{modality!r}]` must be an attribute path or a sequence of them, but is "
                f"{encoders[modality]!r}"
            )
    return checked


def resolve(module: nn.Module, path: str, argument: str) -> nn.Module:
    """The module at an attribute path."""
    try:
        found = attrgetter(path)(module)
    except AttributeError:
        children = [name for name, _ in module.named_children()]
        raise ValueError(
            f"`{argument}` is {path!r}, but {type(module).__name__} has no such attribute. Its "
            f"modules are {children}; a path may go deeper, as in 'encoders.audio'."
        ) from None
    if not isinstance(found, nn.Module):
        raise ValueError(
            f"`{argument}` is {path!r}, which is a {type(found).__name__} and not an nn.Module."
        )
    return found


def check_parameters(modules: Mapping[str, Sequence[nn.Module]], head: nn.Module | None) -> None:
    """Check that encoders have parameters to train and share none with each other or a head."""
    owner: dict[int, str] = {}
    for modality, parts in modules.items():
        if not any(p.requires_grad for part in parts for p in part.parameters()):
            raise ValueError(
                f"`encoders[{modality!r}]` has no trainable parameter: there is nothing to "
                "regulate. Leave the modality out or unfreeze its encoder before training."
            )
        for part in parts:
            for name, parameter in part.named_parameters():
                other = owner.setdefault(id(parameter), modality)
                if other != modality:
                    raise ValueError(
                        f"`encoders` of {other} and {modality} share the parameter {name!r}, but "
                        "must be disjoint. Name only what belongs to one modality."
                    )
    for name, parameter in [] if head is None else head.named_parameters():
        if id(parameter) in owner:
            raise ValueError(
                f"`head` shares the parameter {name!r} with the encoder of "
                f"{owner[id(parameter)]}. Name the encoder and the head as modules apart."
            )
