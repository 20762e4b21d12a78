"""The model's output with some modalities' inputs set to zero, from a batch just seen."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.hooks import RemovableHandle

from inforeg_lightning.core._numeric import at_least_float32
from inforeg_lightning.core.agm import subsets
from inforeg_lightning.engine.probe.head import HeadCall, evaluating
from inforeg_lightning.engine.probe.layout import Layout
from inforeg_lightning.methods._hook import Hook

_Call = tuple[tuple[Any, ...], dict[str, Any], list[Tensor]]
"""Positional and named arguments of an encoder, and the tensors that it returned."""


class ZeroedInputs:
    """Remembers what encoders are called with, and runs them and the head once more.

    An encoder's features depend on its own input only: it is run once for its input and once for
    zeros, however many subsets of modalities there are.

    Args:
        encoders: Modality -> its modules, of which there must be one.

    Raises:
        ValueError: A modality has several modules.
    """

    def __init__(self, encoders: Mapping[str, Sequence[nn.Module]]) -> None:
        for modality, modules in encoders.items():
            if len(modules) > 1:
                raise ValueError(
                    f"`encoders[{modality!r}]` names {len(modules)} modules, but `zeroed='inputs'` "
                    "runs each encoder once more as one. Put them into one module, or use "
                    "zeroed='features'."
                )
        self.encoders = {modality: modules[0] for modality, modules in encoders.items()}
        self._calls: dict[str, list[_Call]] = {}
        self._parts: list[tuple[Layout, dict[str, list[int]]]] = []
        self._watching = False
        self._handles: list[RemovableHandle] = [
            module.register_forward_hook(Hook(self._see, modality), with_kwargs=True)
            for modality, module in self.encoders.items()
        ]

    def begin(self) -> None:
        """Watch the forward pass of a (micro-)batch."""
        self._calls = {modality: [] for modality in self.encoders}
        self._watching = True

    def end(self) -> None:
        """Let go of the (micro-)batch."""
        self._calls = {}
        self._watching = False

    def close(self) -> None:
        """Remove the hooks."""
        self.end()
        for handle in self._handles:
            handle.remove()

    def outputs(self, call: HeadCall, output: Tensor) -> dict[frozenset[str], Tensor]:
        """The output of the head for each subset of the batch's modalities but the empty one.

        Encoders and head run in evaluation mode, except for the full set: that is training's own.

        Args:
            call: The head's call in this batch.
            output: What it returned.

        Raises:
            ValueError: What goes into the head is not what an encoder returned in its only call.
        """
        self._watching = False
        parts = self._parts_of(call)
        features = {m: self._features(m, parts[m]) for m in call.present}
        found = {}
        for subset in subsets(call.present):
            if len(subset) == len(call.present):
                found[subset] = at_least_float32(output)
                continue
            given = {m: features[m][0 if m in subset else 1] for m in call.present}
            with evaluating(call.head):
                found[subset] = at_least_float32(call.with_features(given))
        return found

    def _see(self, modality: str, _: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        """Remember a call of an encoder."""
        if self._watching:
            tensors = [x for x in tree_flatten(output)[0] if isinstance(x, Tensor)]
            self._calls[modality].append((args, kwargs, tensors))

    def _features(self, modality: str, parts: Sequence[int]) -> tuple[list[Tensor], list[Tensor]]:
        """The parts of the head's inputs, in evaluation mode, for the input and for zeros."""
        (args, kwargs, _), encoder = self._calls[modality][0], self.encoders[modality]
        with evaluating(encoder):
            zeros, named = _zeroed(args, kwargs)
            runs = [encoder(*args, **kwargs), encoder(*zeros, **named)]
        tensors = [[x for x in tree_flatten(run)[0] if isinstance(x, Tensor)] for run in runs]
        return [tensors[0][i] for i in parts], [tensors[1][i] for i in parts]

    def _parts_of(self, call: HeadCall) -> dict[str, list[int]]:
        """Modality -> which of its encoder's outputs each part of the head's inputs is."""
        for layout, known in self._parts:
            if layout is call.layout:
                return known
        found = {}
        for modality, parts in call.features().items():
            if modality not in call.present:
                continue
            calls = self._calls[modality]
            indices = [_index_of(part, calls[0][2]) if len(calls) == 1 else None for part in parts]
            if None in indices or not parts:
                raise ValueError(
                    f"`zeroed='inputs'` runs the encoder of {modality} once more, but what goes "
                    f"into the head is not what {type(self.encoders[modality]).__name__} returned "
                    "in one call: something lies between, or it was called more than once. Put "
                    "all of it into the encoder's module, or use zeroed='features'."
                )
            found[modality] = [i for i in indices if i is not None]
        self._parts.append((call.layout, found))
        return found


def _zeroed(args: Any, kwargs: Any) -> tuple[Any, Any]:
    """The arguments of an encoder with the first tensor among them, its input, set to zero.

    What comes after it, lengths or masks say, stays as it is, as in the authors' programs.
    """
    leaves, spec = tree_flatten((args, kwargs))
    first = next(i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor))
    leaves[first] = torch.zeros_like(leaves[first])
    zeroed: tuple[Any, Any] = tree_unflatten(leaves, spec)
    return zeroed


def _index_of(part: Tensor, outputs: Sequence[Tensor]) -> int | None:
    """Which output a part is, by value: read on the host, once per layout."""
    for index, output in enumerate(outputs):
        if part.shape == output.shape and torch.equal(part, output.to(part.dtype)):
            return index
    return None
