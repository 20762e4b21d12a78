"""Hold the features of some modalities, replay them, and keep what a forward pass makes."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from inforeg_lightning.core.monitor import pooled

Modules = Mapping[str, Sequence[nn.Module]]
"""Modality -> the modules of its encoder."""

Calls = dict[str, list[list[Any]]]
"""Modality -> per module, what each of its calls in a forward pass returned."""


@contextmanager
def held_at_zero(modules: Modules, modalities: Collection[str]) -> Iterator[None]:
    """Let the encoders of some modalities return zeros, in training and in evaluation alike.

    The features are zero before anything mixes them, so that whatever fusion follows learns from
    the other modalities alone, and nobody has to write a second model.
    """
    with ExitStack() as stack:
        for modality in modalities:
            for module in modules[modality]:
                stack.callback(module.register_forward_hook(_return_zeros).remove)
        yield


@contextmanager
def recorded(modules: Modules, head: nn.Module) -> Iterator[tuple[Calls, list[Any]]]:
    """Keep what the encoders and the head return.

    Yields:
        What the encoders returned, by modality, module and call, and what the head returned. Both
        are filled by each forward pass, and are the caller's to clear.
    """
    calls: Calls = {m: [[] for _ in found] for m, found in modules.items()}
    outputs: list[Any] = []
    with ExitStack() as stack:
        for modality, found in modules.items():
            for into, module in zip(calls[modality], found, strict=True):
                stack.callback(module.register_forward_hook(_keeper(into)).remove)
        stack.callback(head.register_forward_hook(_keeper(outputs)).remove)
        yield calls, outputs


@contextmanager
def replayed(modules: Modules, calls: Calls) -> Iterator[None]:
    """Let the encoders return what they are told, call by call, without running them."""
    with ExitStack() as stack:
        for modality, found in modules.items():
            for module, returned in zip(found, calls[modality], strict=True):
                stack.enter_context(_returning(module, returned))
        yield


def zeroed(calls: Calls, modalities: Collection[str]) -> Calls:
    """What encoders returned, with zeros for some modalities."""
    return {
        m: [[_zeros(x) for x in made] if m in modalities else made for made in of]
        for m, of in calls.items()
    }


def permuted(calls: Calls, modality: str, order: Tensor) -> Calls:
    """What encoders returned, with the samples of one modality in another order.

    Args:
        calls: What they returned.
        modality: Whose samples change places.
        order: A permutation of the batch, shape ``(B,)``.
    """

    def change(x: Any) -> Any:
        if not isinstance(x, Tensor) or not x.dim() or x.shape[0] % len(order):
            return x
        # Frames may be folded into the batch: those of a sample stay together.
        parts = x.reshape(len(order), -1, *x.shape[1:])
        return parts[order.to(x.device)].reshape(x.shape)

    return {
        m: [[tree_map(change, x) for x in made] if m == modality else made for made in of]
        for m, of in calls.items()
    }


def vectors(returned: Sequence[Sequence[Any]], samples: int) -> Tensor | None:
    """The features of a modality as one vector per sample, for a probe; ``None`` if there are none.

    Maps are averaged over space and sequences over time; frames folded into the batch are averaged
    too, and the calls of several modules stand beside each other.
    """
    leaves = [
        next((x for x in tree_flatten(output)[0] if _is_features(x, samples)), None)
        for made in returned
        for output in made
    ]
    return pooled([leaf.float() for leaf in leaves if leaf is not None], samples)


def _is_features(x: Any, samples: int) -> bool:
    floating = isinstance(x, Tensor) and x.is_floating_point() and x.dim() > 0
    return floating and x.shape[0] > 0 and x.shape[0] % samples == 0


def _return_zeros(module: nn.Module, args: Any, output: Any) -> Any:
    return _zeros(output)


def _zeros(output: Any) -> Any:
    return tree_map(
        lambda x: torch.zeros_like(x) if isinstance(x, Tensor) and x.is_floating_point() else x,
        output,
    )


def _keeper(into: list[Any]) -> Callable[..., None]:
    def keep(module: nn.Module, args: Any, output: Any) -> None:
        into.append(output)

    return keep


@contextmanager
def _returning(module: nn.Module, returned: Sequence[Any]) -> Iterator[None]:
    left = iter(returned)
    own = module.__dict__.get("forward")  # compiled modules have one of their own
    module.forward = lambda *args, **kwargs: next(left)
    try:
        yield
    finally:
        if own is None:
            del module.forward
        else:
            module.forward = own
