"""A call of the fusion head, and what the head returns for some of the modalities only."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import TreeSpec, tree_unflatten

from inforeg_lightning.core._dtensor import is_sharded, whole
from inforeg_lightning.core._numeric import at_least_float32
from inforeg_lightning.engine.probe.layout import Layout


def remedy(modalities: Iterable[str]) -> str:
    """What to write where a head cannot be split from outside."""
    logits = ", ".join(f'"{modality}": logits_{modality}' for modality in modalities)
    first = next(iter(modalities))
    return (
        "Leave out `head=` and call `report_unimodal(...)` in training_step with the logits of "
        "each modality, made without the others (their features zeroed or masked before they are "
        "mixed):\n"
        f"    logits_{first} = self.head(...)  # with the features of {first} alone; likewise all\n"
        f"    report_unimodal(self, {{{logits}}}, target)\n"
        "    return loss"
    )


def plain_linear(head: nn.Module) -> nn.Linear | None:
    """The head if it is a linear layer and nothing else, compiled or not."""
    plain = getattr(head, "_orig_mod", head)  # what torch.compile(head) wraps
    # A subclass with a forward of its own (a cosine head, say) is not linear.
    if isinstance(plain, nn.Linear) and type(plain).forward is nn.Linear.forward:
        return plain
    return None


def called_detached(module: nn.Module) -> Callable[..., Any]:
    """Calls a module so that no gradient reaches its parameters; its inputs get theirs.

    Raises:
        ValueError: A parameter is sharded (FSDP2): it is whole only while its module runs.
    """
    plain = getattr(module, "_orig_mod", module)  # what torch.compile(module) wraps
    weights = {name: parameter.detach() for name, parameter in plain.named_parameters()}
    if any(is_sharded(weight) for weight in weights.values()):
        raise ValueError(
            f"{type(plain).__name__} has parameters sharded by FSDP2, which cannot be left out of "
            "its gradient. Leave it out of `fully_shard`, or use strategy='ddp'."
        )
    return lambda *args, **kwargs: functional_call(plain, weights, args, kwargs)


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

    @property
    def present(self) -> list[str]:
        """The modalities that this batch has."""
        return [m for m in self.modalities if m not in self.layout.absent]

    def unimodal(self, detach_head: bool = False) -> dict[str, Tensor]:
        """Unimodal logits: modality that the batch has -> shape ``(B, C)``.

        Those of a linear head are its shares ``z_m W_mᵀ + c / M``, at least float32; those of any
        other its output for the features of one modality and zeros, in evaluation mode. What
        belongs to no encoder is in none of them.

        Args:
            detach_head: Whether a loss of these logits gives the head no gradient.
        """
        linear = plain_linear(self.head)
        if linear is None:
            return {modality: self.only((modality,), detach_head) for modality in self.present}
        with torch.autocast(self.leaves[0].device.type, enabled=False):
            weight = whole(linear.weight)
            bias = None if linear.bias is None else at_least_float32(whole(linear.bias))
            share = None if bias is None else bias / len(self.modalities)
            if detach_head:
                weight, share = weight.detach(), None if share is None else share.detach()
            return {m: self._columns_times_weight(weight, m, share) for m in self.present}

    def unimodal_without_head(self) -> dict[str, Tensor]:
        """As :meth:`unimodal`, without gradient for the head, and with the whole bias for each.

        It is the output for the features of one modality and zeros, of a linear head too.
        """
        linear = plain_linear(self.head)
        if linear is None:
            return self.unimodal(detach_head=True)
        with torch.autocast(self.leaves[0].device.type, enabled=False):
            weight = whole(linear.weight).detach()
            bias = None if linear.bias is None else at_least_float32(whole(linear.bias.detach()))
            return {m: self._columns_times_weight(weight, m, bias) for m in self.present}

    def rest(self) -> Tensor | None:
        """What the unimodal logits of a linear head lack of its output; ``None`` if nothing.

        The share of the columns that belong to no encoder, and the shares of the bias of modalities
        that the batch does not have.
        """
        linear = plain_linear(self.head)
        blocks = self.layout.blocks[0]
        if linear is None or blocks is None:
            return None
        if None not in blocks.owners and not self.layout.absent:
            return None
        with torch.autocast(self.leaves[0].device.type, enabled=False):
            if None in blocks.owners:
                rest = self._columns_times_weight(whole(linear.weight), None, None)
            else:
                first = self._columns_times_weight(whole(linear.weight), self.present[0], None)
                rest = torch.zeros_like(first)
            if linear.bias is not None and self.layout.absent:
                bias = at_least_float32(whole(linear.bias)) / len(self.modalities)
                rest = rest + bias * len(self.layout.absent)
            return rest

    def only(self, kept: Collection[str | None], detach_head: bool = False) -> Tensor:
        """The output for some modalities, the features of all others zero; in evaluation mode.

        Args:
            kept: Modalities; ``None`` among them keeps what belongs to no encoder.
            detach_head: Whether a loss of the output gives the head no gradient.
        """
        with evaluating(self.head):
            return self._run(self.layout.keep_only(kept, self.leaves), detach_head)

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
        return self._run(self.replaced(features))

    def replaced(self, features: Mapping[str, Sequence[Tensor]]) -> list[Any]:
        """The inputs, flattened, with other features.

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
            replaced = blocks.replace(leaf, parts)
            self.layout.tell(replaced, blocks)
            leaves.append(replaced)
        return leaves

    def _run(self, leaves: Sequence[Any], detach_head: bool = False) -> Tensor:
        args, kwargs = tree_unflatten(leaves, self.spec)
        call = called_detached(self.head) if detach_head else self.head
        output = call(*args, **kwargs)
        if not isinstance(output, Tensor):
            raise ValueError(
                "`head` must return the logits as one tensor, but returns "
                f"{type(output).__name__}. {remedy(self.modalities)}"
            )
        return output

    def _columns_times_weight(
        self, weight: Tensor, owner: str | None, bias: Tensor | None
    ) -> Tensor:
        # In full precision whatever the training runs in: the split is exact, and it costs next to
        # nothing. Each modality multiplies its own columns only: with all of them, zeros or not,
        # the cost would grow with the square of the number of modalities.
        blocks = self.layout.blocks[0]
        assert blocks is not None
        weight = at_least_float32(weight)
        z = at_least_float32(blocks.keep_rows(owner, self.leaves[0]))
        first, *others = blocks.columns(owner)
        share = F.linear(z[..., first], weight[:, first], bias)
        for part in others:
            share = share + F.linear(z[..., part], weight[:, part])
        return share


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Have a module and its parts in evaluation mode, each back in its own afterwards."""
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
