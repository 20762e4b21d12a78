"""A call of the fusion head, and what the head returns for some of the modalities only."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_unflatten

from inforeg_lightning.callbacks.layout import Layout
from inforeg_lightning.core.scores import at_least_float32
from inforeg_lightning.core.shards import whole

REMEDY = "Report the logits from training_step with `report_unimodal(...)` and leave out `head=`."


def plain_linear(head: nn.Module) -> nn.Linear | None:
    """The head if it is a linear layer and nothing else, compiled or not."""
    plain = getattr(head, "_orig_mod", head)  # what torch.compile(head) wraps
    # A subclass with a forward of its own (a cosine head, say) is not linear.
    if isinstance(plain, nn.Linear) and type(plain).forward is nn.Linear.forward:
        return plain
    return None


@dataclass(frozen=True)
class HeadCall:
    """A call of the head. Whatever it returns has a graph if gradients are enabled.

    Args:
        head: The fusion head.
        leaves: Its inputs, flattened.
        spec: How they were nested.
        layout: Whose features they are.
        modalities: All of them.
    """

    head: nn.Module
    leaves: Sequence[Any]
    spec: TreeSpec
    layout: Layout
    modalities: Sequence[str]

    def unimodal(self) -> dict[str, Tensor]:
        """Unimodal logits: modality -> shape ``(B, C)``.

        Those of a linear head are its shares ``z_m W_mᵀ + c / M``, at least float32; those of any
        other its output for the features of one modality and zeros, in evaluation mode.
        """
        linear = plain_linear(self.head)
        if linear is not None:
            return _linear_shares(linear, self.leaves[0], self.layout, self.modalities)
        return {modality: self.only((modality,)) for modality in self.modalities}

    def only(self, kept: Collection[str]) -> Tensor:
        """The output for some modalities, the features of all others zero; in evaluation mode."""
        with _evaluating(self.head):
            return self._run(self.layout.keep_only(kept, self.leaves))

    def features(self) -> dict[str, list[Tensor]]:
        """Modality -> its parts of the inputs, in order."""
        return {
            modality: [
                part
                for leaf, blocks in zip(self.leaves, self.layout.blocks, strict=True)
                if blocks is not None
                for part in blocks.parts_of(modality, leaf)
            ]
            for modality in self.modalities
        }

    def with_features(self, features: Mapping[str, Sequence[Tensor]]) -> Tensor:
        """The output for other features, in the mode that the head is in.

        Args:
            features: Modality -> its new parts, as :meth:`features` returns them.
        """
        left = {modality: iter(parts) for modality, parts in features.items()}
        leaves: list[Any] = []
        for leaf, blocks in zip(self.leaves, self.layout.blocks, strict=True):
            if blocks is None:
                leaves.append(leaf)
                continue
            counts = {m: blocks.owners.count(m) for m in left}
            parts = {m: [next(left[m]) for _ in range(n)] for m, n in counts.items()}
            leaves.append(blocks.replace(leaf, parts))
        return self._run(leaves)

    def _run(self, leaves: Sequence[Any]) -> Tensor:
        args, kwargs = tree_unflatten(leaves, self.spec)
        output = self.head(*args, **kwargs)
        if not isinstance(output, Tensor):
            raise ValueError(
                "`head` must return the logits as one tensor, but returns "
                f"{type(output).__name__}. {REMEDY}"
            )
        return output


def _linear_shares(
    head: nn.Linear, features: Tensor, layout: Layout, modalities: Sequence[str]
) -> dict[str, Tensor]:
    # In full precision whatever the training runs in: the split is exact, and it costs next to
    # nothing. Each modality multiplies its own columns only: with all of them, zeros or not, the
    # cost would grow with the square of the number of modalities.
    blocks = layout.blocks[0]
    assert blocks is not None
    with torch.autocast(features.device.type, enabled=False):
        weight = at_least_float32(whole(head.weight))
        bias = None if head.bias is None else at_least_float32(whole(head.bias)) / len(modalities)
        shares = {}
        for modality in modalities:
            z = at_least_float32(blocks.keep_rows(modality, features))
            first, *others = blocks.columns(modality)
            shares[modality] = F.linear(z[..., first], weight[:, first], bias)
            for part in others:
                shares[modality] = shares[modality] + F.linear(z[..., part], weight[:, part])
    return shares


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    # In training mode the extra calls would draw dropout masks and move running statistics, and
    # training would differ from training without the callback.
    modes = [(part, part.training) for part in module.modules()]
    for part, _ in modes:
        part.training = False
    try:
        yield
    finally:
        for part, mode in modes:
            part.training = mode
