"""Which of a head's inputs, and which parts of them, are the features of which modality."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn

# Operations that keep every element in its place. Anything else between the concatenation and the
# head (a linear layer, a permutation) could mix the modalities, and is not looked through.
_ELEMENTWISE = frozenset(
    f"{name}Backward{index}"
    for name in (
        "Alias", "Clone", "ToCopy", "View", "UnsafeView", "ReshapeAlias", "Relu", "Gelu", "Tanh",
        "Silu", "LeakyRelu", "Elu", "Sigmoid", "Softplus", "Mish", "Hardswish", "Hardtanh",
        "Add", "Sub", "Mul", "Div", "NativeDropout", "NativeLayerNorm", "NativeBatchNorm",
        "CudnnBatchNorm", "MiopenBatchNorm",
    )
    for index in (0, 1)
)  # fmt: skip


@dataclass(frozen=True)
class Blocks:
    """A tensor cut along one dimension into consecutive parts, each of one modality.

    Args:
        dim: The dimension, counted from the end (``-1`` is the last).
        owners: The modality of each part; ``None`` for a part that no encoder has touched. An
            input that leads back to one modality alone is that modality's as a whole.
        widths: The size of each part along ``dim``.
    """

    dim: int
    owners: tuple[str | None, ...]
    widths: tuple[int, ...]

    def keep_only(self, kept: Collection[str | None], features: Tensor) -> Tensor:
        """The features with the parts of all modalities but these set to zero.

        Args:
            kept: Modalities; ``None`` among them keeps what belongs to no encoder.
            features: What was given to the head.
        """
        if all(owner in kept for owner in self.owners):
            return features
        parts = zip(self.owners, torch.split(features, [*self.widths], self.dim), strict=True)
        return torch.cat(
            [part if o in kept else torch.zeros_like(part) for o, part in parts], self.dim
        )

    def replace(self, features: Tensor, parts: Mapping[str, Sequence[Tensor]]) -> Tensor:
        """The features with others in the place of those of some modalities.

        Args:
            features: What was given to the head.
            parts: Modality -> its new parts, shaped as :meth:`parts_of` returns them.
        """
        left = {modality: iter(new) for modality, new in parts.items()}
        old = zip(self.owners, torch.split(features, [*self.widths], self.dim), strict=True)
        return torch.cat([next(left[o]) if o in left else part for o, part in old], self.dim)

    def parts_of(self, modality: str, features: Tensor) -> list[Tensor]:
        """The parts of a modality, in order."""
        parts = zip(self.owners, torch.split(features, [*self.widths], self.dim), strict=True)
        return [part for owner, part in parts if owner == modality]

    def columns(self, owner: str | None) -> list[slice]:
        """Where along the last dimension the features of a modality, or of nobody, stand."""
        if self.dim != -1:
            return [slice(None)] if owner in self.owners else []
        ends = [*accumulate(self.widths)]
        return [
            slice(end - width, end)
            for found, width, end in zip(self.owners, self.widths, ends, strict=True)
            if found == owner
        ]

    def keep_rows(self, owner: str | None, features: Tensor) -> Tensor:
        """The features, zeroed as :meth:`keep_only` does where :meth:`columns` cannot tell."""
        return features if self.dim == -1 else self.keep_only((owner,), features)


class Layout:
    """Whose features the inputs of a head are.

    They are recognised first by the autograd graph: the inputs lead back, through a concatenation,
    to the parameters of the encoders (or to the marked outputs of frozen ones), whatever pooling or
    flattening lies between. Where the graph does not tell (a compiled module is one node), by
    value: the inputs hold the encoders' outputs as they are.

    Args:
        leaves: The inputs of the head, with their graph.
        outputs: Modality -> what its encoders returned in the same forward pass.
        encoders: Modality -> its modules.
        marks: Tensors from which a graph begins that no parameter tells of -> their modality's.

    Attributes:
        absent: Modalities whose encoder was not called and whose features are not there.

    Raises:
        LookupError: The features of an encoder that was called are not found, or some input mixes
            modalities.
    """

    def __init__(
        self,
        leaves: Sequence[Any],
        outputs: Mapping[str, Sequence[Tensor]],
        encoders: Mapping[str, Sequence[nn.Module]],
        marks: Sequence[tuple[str, Tensor]] = (),
    ) -> None:
        owners = {
            id(parameter): modality
            for modality, modules in encoders.items()
            for module in modules
            for parameter in module.parameters()
        } | {id(mark): modality for modality, mark in marks}
        features = [(m, z) for m, tensors in outputs.items() for z in tensors]
        self.blocks: list[Blocks | None] = []
        for leaf in leaves:
            blocks, mixed = None, False
            if isinstance(leaf, Tensor):
                mixed = len(_reach(leaf.grad_fn, owners)) > 1
                blocks = _by_graph(leaf, owners) or _by_value(leaf, features)
            if mixed and blocks is None:
                raise LookupError(
                    f"an input of the head, of shape {tuple(leaf.shape)}, mixes modalities: it is "
                    "not a concatenation of features that are each of one modality"
                )
            self.blocks.append(blocks)
        # Parts of encoders that are frozen or compiled leave no graph.
        if self._missing(encoders, outputs):
            for index, leaf in enumerate(leaves):
                if isinstance(leaf, Tensor):
                    by_value = _by_value(leaf, features) or _by_value(leaf, features, gaps=True)
                    self.blocks[index] = by_value or self.blocks[index]
        missing = self._missing(encoders, outputs)
        self.absent = frozenset(m for m in self._missing(encoders) if m not in missing)
        if missing or len(self.absent) == len(encoders):
            shapes = [tuple(leaf.shape) for leaf in leaves if isinstance(leaf, Tensor)]
            raise LookupError(
                f"the features of {', '.join(missing or encoders)} are not among the inputs of the "
                f"head (shapes {shapes})"
            )
        if self.absent:  # what stands in its place may have been taken for the only other's
            ends = {z.grad_fn for _, z in features}
            for index, blocks in enumerate(self.blocks):
                if blocks is not None and len(blocks.owners) == 1:
                    found = _by_graph(leaves[index], owners, ends) or blocks
                    if len(found.owners) == 1:  # zeros on both sides leave no graph to tell by
                        found = _by_value(leaves[index], features, gaps=True) or found
                    self.blocks[index] = found
        self._is_foreign = [
            blocks is None and isinstance(leaf, Tensor) and _is_foreign(leaf)
            for leaf, blocks in zip(leaves, self.blocks, strict=True)
        ]

    def _missing(
        self, modalities: Iterable[str], called: Mapping[str, Sequence[Tensor]] | None = None
    ) -> list[str]:
        found = {owner for blocks in self.blocks if blocks for owner in blocks.owners}
        return [
            modality
            for modality in modalities
            if modality not in found and (called is None or called.get(modality))
        ]

    def is_by_sample(self, leaves: Sequence[Any]) -> bool:
        """Whether no input is cut along its first dimension, that of the batch."""
        return all(
            blocks is None or -blocks.dim < leaf.dim()
            for leaf, blocks in zip(leaves, self.blocks, strict=True)
        )

    def keep_only(self, kept: Collection[str | None], leaves: Sequence[Any]) -> list[Any]:
        """The inputs with the features of all modalities but these set to zero.

        Args:
            kept: Modalities; ``None`` among them keeps what belongs to no encoder.
            leaves: The inputs. Those that are no features (a mask, say) stay as they are.
        """
        return [
            (torch.zeros_like(leaf) if foreign and None not in kept else leaf)
            if blocks is None
            else blocks.keep_only(kept, leaf)
            for leaf, blocks, foreign in zip(leaves, self.blocks, self._is_foreign, strict=True)
        ]

    def of_nobody(self, leaves: Sequence[Any]) -> list[str]:
        """Which features belong to no encoder, in words."""
        found = [
            f"an input of shape {tuple(leaf.shape)}"
            for leaf, foreign in zip(leaves, self._is_foreign, strict=True)
            if foreign
        ]
        for blocks in filter(None, self.blocks):
            ends = [*accumulate(blocks.widths)]
            found += [
                f"columns {end - width} to {end - 1}"
                for owner, width, end in zip(blocks.owners, blocks.widths, ends, strict=True)
                if owner is None and width
            ]
        return found


def _is_foreign(leaf: Tensor) -> bool:
    """Whether an input is features of an encoder that nobody named, not a mask or a token.

    Such features have a graph, and differ from sample to sample; read on the host, once per layout.
    """
    if leaf.grad_fn is None or leaf.dim() < 2:
        return False
    return not torch.equal(leaf, leaf[:1].expand_as(leaf))


def _by_graph(
    leaf: Tensor, owners: Mapping[int, str], ends: Collection[Any] | None = None
) -> Blocks | None:
    if leaf.grad_fn is None:
        return None
    return _blocks_of(leaf.grad_fn, tuple(leaf.shape), owners, ends)


def _blocks_of(
    node: Any,
    shape: tuple[int, ...],
    owners: Mapping[int, str],
    ends: Collection[Any] | None = None,
) -> Blocks | None:
    """The parts of what a node of the graph makes.

    Args:
        node: The node.
        shape: Of what it makes.
        owners: The id of a parameter -> its modality.
        ends: The nodes that make the encoders' outputs, to tell the features of the only modality
            that is reached from what stands beside them; ``None`` takes all for its features.
    """
    reached = _reach(node, owners)
    if not reached:
        return None
    whole = Blocks(-1, tuple(reached), (shape[-1],)) if len(reached) == 1 else None
    if whole is not None and (ends is None or node in ends):
        return whole
    children = [(child, _shape(child, index)) for child, index in node.next_functions]
    owning = [(child, of) for child, of in children if _reach(child, owners)]
    if node.name() == "CatBackward0" and (whole is None or len(owning) < len(children)):
        dim = node._saved_dim  # unsigned: a negative dimension is stored modulo 2^64
        dim = dim - 2**64 if dim >= 2**63 else dim - len(shape)
        return _blocks_of_concatenation(children, dim, shape[dim], owners) or whole
    if node.name() in _ELEMENTWISE and len(owning) == 1 and owning[0][1] == shape:
        return _blocks_of(owning[0][0], shape, owners, ends)
    return whole


def _blocks_of_concatenation(
    children: list[tuple[Any, tuple[int, ...]]],
    dim: int,
    width: int,
    owners: Mapping[int, str],
) -> Blocks | None:
    # An input without a graph does not tell its width: one such is what the others leave over.
    left_over = width - sum(shape[dim] for child, shape in children if child is not None)
    without = [index for index, (child, _) in enumerate(children) if child is None]
    if without and without[-1] - without[0] >= len(without):
        return None
    # Side by side they are one part of nobody's.
    children = [c for i, c in enumerate(children) if c[0] is not None or i == without[0]]
    names: list[str | None] = []
    widths: list[int] = []
    for child, shape in children:
        reached = _reach(child, owners)
        if len(reached) > 1:
            inner = _blocks_of(child, shape, owners)
            if inner is None or inner.dim != dim:
                return None
            names += inner.owners
            widths += inner.widths
        else:
            names.append(next(iter(reached), None))
            widths.append(left_over if child is None else shape[dim])
    return Blocks(dim, tuple(names), tuple(widths))


def _by_value(
    leaf: Tensor, features: Sequence[tuple[str, Tensor]], gaps: bool = False
) -> Blocks | None:
    """Match the columns with encoders' outputs: the host reads values, once for each shape.

    Args:
        leaf: An input of the head.
        features: What the encoders returned.
        gaps: Whether columns may belong to nobody.
    """
    owners: list[str | None] = []
    widths: list[int] = []
    left = [(modality, z) for modality, z in features if z.dim() == leaf.dim() > 0]
    start = 0
    while start < leaf.shape[-1]:
        for position, (modality, z) in enumerate(left):
            part = leaf[..., start : start + z.shape[-1]]
            if part.shape == z.shape and torch.equal(part, z.to(part.dtype)):
                owners.append(modality)
                widths.append(z.shape[-1])
                del left[position]
                break
        else:
            if not gaps:
                return None
            if not owners or owners[-1] is not None:
                owners.append(None)
                widths.append(0)
            widths[-1] += 1
        start = sum(widths)
    return Blocks(-1, tuple(owners), tuple(widths)) if any(owners) else None


def _reach(node: Any, owners: Mapping[int, str]) -> set[str]:
    """The modalities to whose parameters the graph leads back from a node."""
    return {owners[id(leaf)] for leaf in _leaves_of(node) if id(leaf) in owners}


def _leaves_of(node: Any) -> Iterator[Tensor]:
    return (current.variable for current in nodes_of(node) if hasattr(current, "variable"))


def nodes_of(node: Any) -> Iterator[Any]:
    """The nodes of the autograd graph that leads to a node, itself first, each once."""
    stack, seen = [node], set()
    while stack:
        current = stack.pop()
        if current is None or current in seen:
            continue
        seen.add(current)
        yield current
        stack += [child for child, _ in current.next_functions]


def _shape(node: Any, index: int) -> tuple[int, ...]:
    return () if node is None else tuple(node._input_metadata[index].shape)
