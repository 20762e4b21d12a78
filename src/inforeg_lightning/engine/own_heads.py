"""Linear unimodal heads that are made for a model: how wide, from what draw, on what features."""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

NAME = "unimodal_heads"
"""Where they stand in the model while it trains."""

_WIDTHS = ("out_features", "out_channels", "num_features", "num_channels", "embedding_dim")


class HiddenHeads(nn.ModuleDict):
    """Part of a model for its optimisers and processes, but not of its ``state_dict``.

    A checkpoint's weights are then those of the model alone, and load with or without a callback.

    Args:
        heads: Modality -> its head.
    """

    def __init__(self, heads: Mapping[str, nn.Module]) -> None:
        super().__init__({_attribute(modality): head for modality, head in heads.items()})
        self._modalities = [*heads]
        self.place = NAME
        """Under which attribute they stand in the model."""
        self.register_load_state_dict_post_hook(_none_is_missing)  # type: ignore[no-untyped-call]

    @property
    def by_modality(self) -> dict[str, nn.Module]:
        """Modality -> its head."""
        return dict(zip(self._modalities, self.values(), strict=True))

    def state_dict(self, *args: Any, destination: Any = None, **kwargs: Any) -> Any:
        """What there was, with nothing added."""
        return OrderedDict() if destination is None else destination


def _attribute(modality: str) -> str:
    name = modality.replace(".", "_")
    return f"{name}_" if hasattr(nn.ModuleDict, name) else name


def _none_is_missing(heads: HiddenHeads, incompatible: Any) -> None:
    own = tuple(f"{heads.place}.{name}" for name, _ in heads.named_parameters())
    incompatible.missing_keys[:] = [k for k in incompatible.missing_keys if not k.endswith(own)]


def width_of(module: nn.Module) -> int | None:
    """How many features a module returns, as far as its layers tell; ``None`` if they do not.

    The attribute ``out_features`` of the module, else what the last of its layers that has a width
    returns. Whoever builds on it checks the first output.
    """
    module = getattr(module, "_orig_mod", module)  # what torch.compile(module) wraps
    for part in (module, *reversed([*module.modules()])):
        if isinstance(part, nn.RNNBase):
            return (part.proj_size or part.hidden_size) * (2 if part.bidirectional else 1)
        if isinstance(part, nn.LayerNorm):
            return int(part.normalized_shape[-1])
        for name in _WIDTHS:
            if isinstance(width := getattr(part, name, None), int):
                return width
    return None


def make_own(encoders: Mapping[str, Sequence[nn.Module]], head: nn.Module) -> dict[str, nn.Linear]:
    """A linear head per modality, from the width of its features to the classes of the joint head.

    Both are what the layers say; :func:`linear_heads` says how the heads are drawn.

    Args:
        encoders: Modality -> its modules.
        head: The joint head.

    Raises:
        ValueError: The layers do not tell a width.
    """
    classes = width_of(head)
    known = {m: [width_of(part) for part in parts] for m, parts in encoders.items()}
    widths = {m: sum(w for w in of if w is not None) for m, of in known.items()}
    plain = getattr(head, "_orig_mod", head)
    if classes is None or any(None in of for of in known.values()):
        raise _unknown(encoders, classes, "their layers do not tell")
    if isinstance(plain, nn.Linear) and sum(widths.values()) > plain.in_features:
        raise _unknown(
            encoders,
            classes,
            f"their last layers have {widths} outputs, but the head takes {plain.in_features}",
        )
    return linear_heads(widths, classes, head)


def linear_heads(widths: Mapping[str, int], classes: int, joint: nn.Module) -> dict[str, nn.Linear]:
    """A linear head per modality.

    The weights are drawn as those of every ``nn.Linear``, by a generator of their own with torch's
    seed: torch's is not drawn from, so that the rest of the training is as it was. Each modality
    begins with the same draw, so that neither names nor order matter.

    Args:
        widths: Modality -> number of its features.
        classes: Number of classes.
        joint: The joint head, in whose type and on whose device they are made.
    """
    like = next((p for p in joint.parameters()), torch.empty(0))
    made = {}
    for modality, width in widths.items():
        generator = torch.Generator().manual_seed(torch.initial_seed())
        linear = nn.Linear(width, classes, device="meta", dtype=like.dtype)  # nothing is drawn
        made[modality] = linear.to_empty(device=like.device)
        for parameter in made[modality].parameters():
            drawn = torch.rand(parameter.shape, generator=generator)
            parameter.data.copy_((2 * drawn - 1) * width**-0.5)
    return made


def own_logits(
    modality: str,
    head: nn.Linear,
    call: Callable[..., Any],
    features: Tensor,
    output: Tensor,
) -> Tensor:
    """What a linear head makes of the features of its modality, in the shape of the joint logits.

    Tokens and maps are taken position by position, if the joint head keeps their positions.

    Args:
        modality: Whose features they are, for the error.
        head: Its head.
        call: Calls it, as it is or detached.
        features: Shape ``(B, D)``, ``(B, T, D)`` or ``(B, D, H, W)``.
        output: The joint logits, shape ``(B, C)``, ``(B, T, C)`` or ``(B, C, H, W)``.

    Raises:
        ValueError: Features and logits have other positions, or the head does not fit them.
    """
    found, wanted = tuple(features.shape), tuple(output.shape)
    if len(found) == len(wanted) > 1:
        for dim in (-1, 1):
            kept = _without(found, dim) == _without(wanted, dim)
            if kept and (found[dim], wanted[dim]) == (head.in_features, head.out_features):
                logits: Tensor = call(features.movedim(dim, -1))
                return logits.movedim(-1, dim)
    raise ValueError(
        f"`unimodal_heads='own'` made a linear head of {head.in_features} features and "
        f"{head.out_features} classes for {modality}, but its features have shape {found} where "
        f"the joint logits have {wanted}. Pass heads that fit: {_example(modality, found, wanted)}"
    )


def joined(modality: str, parts: Sequence[Tensor], name: str) -> Tensor:
    """The features of a modality as one tensor.

    Args:
        modality: Whose they are, for the error.
        parts: Of the joint head's inputs.
        name: Who the user constructed, for the error.

    Raises:
        ValueError: They differ in more than their width.
    """
    if len(parts) == 1:
        return parts[0]
    dim = 1 if parts[0].dim() == 4 else -1
    shapes = [tuple(part.shape) for part in parts]
    if len({_without(shape, dim) for shape in shapes}) != 1:
        raise ValueError(
            f"{name} cannot join the features of {modality}, of shapes {shapes}, for a unimodal "
            "head. Pass unimodal_heads='shared'."
        )
    return torch.cat([*parts], dim)


def _without(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    dim %= len(shape)
    return shape[:dim] + shape[dim + 1 :]


def _example(modality: str, found: tuple[int, ...], wanted: tuple[int, ...]) -> str:
    if len(found) == len(wanted) == 2:
        return f"unimodal_heads={{{modality!r}: nn.Linear({found[1]}, {wanted[1]}), ...}}."
    return (
        f"unimodal_heads={{{modality!r}: module, ...}}, modules or attribute paths of modules that "
        "take these features and return such logits, or unimodal_heads='shared'."
    )


def _unknown(encoders: Mapping[str, Any], classes: int | None, found: str) -> ValueError:
    heads = ", ".join(f"{m!r}: nn.Linear(<width>, {classes or '<classes>'})" for m in encoders)
    return ValueError(
        f"`unimodal_heads='own'` needs to know how wide the features of {', '.join(encoders)} are, "
        f"but {found}. Give each encoder an attribute out_features, pass "
        f"unimodal_heads={{{heads}}}, or unimodal_heads='shared'."
    )
