"""The autograd graph behind the inputs of a head: to whose parameters it leads back."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from inforeg_lightning.engine.probe.blocks import Blocks

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
# Operations that give all samples the same, as a learnt token is handed to a head.
_REPEATING = frozenset(
    f"{name}Backward{index}"
    for name in ("Expand", "Repeat", "View", "Unsqueeze", "Squeeze", "Select", "Slice", "Clone",
                 "Alias", "ToCopy", "UnsafeView", "ReshapeAlias")
    for index in (0, 1)
)  # fmt: skip


class Owners:
    """Which nodes of a graph belong to which modality.

    Args:
        encoders: Modality -> its modules, whose parameters tell.
        outputs: Modality -> what its encoders returned.
        marks: Tensors from which a graph begins that no parameter tells of -> their modality's.
    """

    def __init__(
        self,
        encoders: Mapping[str, Sequence[nn.Module]],
        outputs: Mapping[str, Sequence[Tensor]],
        marks: Sequence[tuple[str, Tensor]] = (),
    ) -> None:
        self._leaves = parameters_of(encoders) | {id(mark): modality for modality, mark in marks}
        self._outputs = {z.grad_fn for zs in outputs.values() for z in zs if z.grad_fn is not None}
        self._reached: dict[Any, frozenset[str]] = {}

    def reach(self, node: Any) -> frozenset[str]:
        """The modalities to whose parameters the graph leads back from a node, ``None`` to none."""
        if node not in self._reached:
            leaves = (n.variable for n in nodes_of(node) if hasattr(n, "variable"))
            found = frozenset(self._leaves[id(x)] for x in leaves if id(x) in self._leaves)
            self._reached[node] = found
        return self._reached[node]

    def blocks_of(self, leaf: Tensor) -> Blocks | None:
        """Whose the parts of an input are; ``None`` if it leads to nobody, or mixes modalities."""
        return None if leaf.grad_fn is None else self._blocks(leaf.grad_fn, tuple(leaf.shape))

    def _blocks(self, node: Any, shape: tuple[int, ...]) -> Blocks | None:
        reached = self.reach(node)
        if not reached or not shape:
            return None
        whole = Blocks(-1, tuple(reached), (shape[-1],)) if len(reached) == 1 else None
        if node in self._outputs:  # what is concatenated inside an encoder is the encoder's
            return whole
        if node.name() == "CatBackward0":
            return self._concatenation(node, shape) or whole
        if node.name() in _ELEMENTWISE:
            children = [(child, _shape(child, index)) for child, index in node.next_functions]
            owning = [(c, s) for c, s in children if self.reach(c)]
            if len(owning) == 1 and owning[0][1] == shape:
                return self._blocks(*owning[0]) or whole
        return whole

    def _concatenation(self, node: Any, shape: tuple[int, ...]) -> Blocks | None:
        dim = node._saved_dim  # unsigned: a negative dimension is stored modulo 2^64
        dim = dim - 2**64 if dim >= 2**63 else dim - len(shape)
        names: list[str | None] = []
        widths: list[int] = []
        for child, width in _parts(node, shape, dim):
            reached = self.reach(child)
            inner = None
            if reached:
                inner = self._blocks(
                    child, (*shape[: len(shape) + dim], width, *_after(shape, dim))
                )
            if len(reached) > 1 and (inner is None or inner.dim != dim):
                return None
            if inner is not None and inner.dim == dim:
                names += inner.owners
                widths += inner.widths
            else:
                names.append(next(iter(reached), None))
                widths.append(width)
        return Blocks(dim, tuple(names), tuple(widths))


def parameters_of(encoders: Mapping[str, Sequence[nn.Module]]) -> dict[int, str]:
    """The id of each parameter of the encoders -> its modality."""
    return {
        id(parameter): modality
        for modality, modules in encoders.items()
        for module in modules
        for parameter in module.parameters()
    }


def present_in(
    leaves: Sequence[Any],
    encoders: Mapping[str, Sequence[nn.Module]],
    outputs: Mapping[str, Sequence[Tensor]],
    called: Collection[str],
) -> frozenset[str]:
    """The modalities of a batch, without looking into the encoders where that can be avoided.

    An encoder may be called in vain, its output replaced by a constant; and one whose submodules
    are called by themselves is never called as a whole.

    Args:
        leaves: The inputs of the head, with their graph.
        encoders: Modality -> its modules.
        outputs: Modality -> what its encoders returned.
        called: The modalities whose encoders were called.
    """
    nodes = {z.grad_fn: m for m, zs in outputs.items() for z in zs if z.grad_fn is not None}
    # Without a graph of its own it can only be taken to be there.
    found = {m for m in called if not any(z.grad_fn is not None for z in outputs[m])}
    doubtful = {m for m in encoders if m not in found}
    roots = [x.grad_fn for x in leaves if isinstance(x, Tensor)]
    found |= {nodes[node] for node in nodes_of(*roots, stop=nodes) if node in nodes}
    if doubtful - found:
        owner = parameters_of({m: encoders[m] for m in doubtful - found})
        for node in nodes_of(*roots, stop={n for n, m in nodes.items() if m in found}):
            if hasattr(node, "variable") and id(node.variable) in owner:
                found.add(owner[id(node.variable)])
    return frozenset(found)


def is_token(leaf: Tensor) -> bool:
    """Whether an input is a parameter that all samples are given, a learnt token say."""
    return leaf.grad_fn is None or all(
        hasattr(node, "variable") or node.name() in _REPEATING for node in nodes_of(leaf.grad_fn)
    )


def nodes_of(*roots: Any, stop: Collection[Any] = ()) -> Iterator[Any]:
    """The nodes of the autograd graph that leads to some nodes, themselves first, each once.

    Args:
        roots: Where to begin; ``None`` among them is no node.
        stop: Nodes behind which not to look.
    """
    stack, seen = [*roots], set()
    while stack:
        current = stack.pop()
        if current is None or current in seen:
            continue
        seen.add(current)
        yield current
        if current not in stop:
            stack += [child for child, _ in current.next_functions]


def _parts(node: Any, shape: tuple[int, ...], dim: int) -> Iterator[tuple[Any, int]]:
    """Each input of a concatenation, ``None`` if it has no graph, and its width.

    An input without a graph does not tell its width. So the concatenation is asked for the
    gradients of its inputs, whose shapes are theirs.
    """
    meta = node._input_metadata[0]
    with torch.no_grad():
        parts = node(torch.zeros((), dtype=meta.dtype, device=meta.device).expand(shape))
    if isinstance(parts, Tensor):  # a concatenation of one
        parts = (parts,)
    for (child, _), part in zip(node.next_functions, parts, strict=True):
        if part.dim() == len(shape):  # else an empty tensor, which concatenations leave out
            yield child, part.shape[dim]


def _after(shape: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return shape[len(shape) + dim + 1 :]


def _shape(node: Any, index: int) -> tuple[int, ...]:
    return () if node is None else tuple(node._input_metadata[index].shape)
