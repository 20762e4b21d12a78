"""Which of a head's inputs, and which parts of them, are the features of which modality."""

from collections.abc import Collection, Mapping, Sequence
from itertools import accumulate
from typing import Any, Optional

import torch
from torch import Tensor, nn

from inforeg_lightning.engine.probe.blocks import TOKEN, Blocks
from inforeg_lightning.engine.probe.graph import Owners, is_token

_MASKED = -1e4
"""What a mask adds to attention where nothing may be seen is this or less."""


class Layout:
    """Whose features the inputs of a head are.

    They are recognised first by the autograd graph: the inputs lead back, through a concatenation,
    to the parameters of the encoders (or to the marked outputs of frozen ones), whatever pooling or
    flattening lies between. Where the graph does not tell (a compiled module is one node), by
    value: the inputs hold the encoders' outputs as they are. A frozen encoder's features that are
    found by neither are what is left over, if that is one part only.

    Args:
        leaves: The inputs of the head, with their graph.
        outputs: Modality -> what its encoders returned in the same forward pass.
        encoders: Modality -> its modules.
        marks: Tensors from which a graph begins that no parameter tells of -> their modality's.
        known: Modalities that were found in another batch: where they are not found in this one,
            they are absent from it.
        like: The layout of another batch with inputs of the same kinds, if there was one.

    Attributes:
        absent: Modalities whose features are not there.

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
        known: Collection[str] = (),
        like: Optional["Layout"] = None,
    ) -> None:
        self._encoders = {modality: [*modules] for modality, modules in encoders.items()}
        owners = Owners(encoders, outputs, marks)
        features = [(m, z) for m, tensors in outputs.items() for z in tensors]
        self.blocks: list[Blocks | None] = [
            self._told(leaf) or _of_input(leaf, owners, features)
            if isinstance(leaf, Tensor)
            else None
            for leaf in leaves
        ]
        # Parts of encoders that are frozen or compiled leave no graph.
        called = [m for m in encoders if outputs.get(m)]
        if missing := self._without(called):
            self._fill_by_value(leaves, [(m, z) for m, z in features if m in missing])
        places = self._places(leaves, like)
        marked = {modality for modality, _ in marks}
        without_graph = [
            m for m in self._without(called) if m in marked or _is_graphless(outputs[m])
        ]
        if len(without_graph) == 1 and len(places) == 1:
            self._fill(*places[0], without_graph[0], leaves)
        self.absent = frozenset(self._without(encoders))
        for modality in self._without(called):
            # The output of a trained encoder that does not reach the head was made in vain: another
            # stands in its place. Else its features are there, and are not recognised.
            shapes = [z.shape[1:] for z in outputs[modality]]
            in_vain = modality not in without_graph and (bool(places) or self._has(leaves, shapes))
            if not (in_vain or modality in known):
                raise LookupError(_not_found([modality], leaves))
        if len(self.absent) == len(encoders):
            raise LookupError(_not_found(encoders, leaves))
        if not self.absent:
            self.blocks = [
                blocks if blocks is None else _with_tokens(blocks, leaf)
                for blocks, leaf in zip(self.blocks, leaves, strict=True)
            ]
        self._is_foreign = [
            blocks is None and isinstance(leaf, Tensor) and self._belongs_to_nobody(i, leaf, like)
            for i, (leaf, blocks) in enumerate(zip(leaves, self.blocks, strict=True))
        ]

    def tell(self, leaf: Tensor, blocks: Blocks) -> None:
        """Say whose the parts are of a tensor that stands in the place of an input.

        Another method on the same head sees it instead, and neither graph nor values may tell.
        """
        leaf._inforeg_blocks = (self._encoders, blocks)  # type: ignore[attr-defined]

    def _told(self, leaf: Tensor) -> Blocks | None:
        encoders, blocks = getattr(leaf, "_inforeg_blocks", (None, None))
        return blocks if encoders == self._encoders else None

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
                f"columns {end - width} to {end - 1}" if width > 1 else f"column {end - 1}"
                for owner, width, end in zip(blocks.owners, blocks.widths, ends, strict=True)
                if owner is None and width
            ]
        return found

    def holds(self, modality: str, leaves: Sequence[Any], outputs: Sequence[Tensor]) -> bool:
        """Whether the features of a modality are what its encoders returned, as it is."""
        parts = [
            part
            for leaf, blocks in zip(leaves, self.blocks, strict=True)
            if blocks is not None
            for part in blocks.parts_of(modality, leaf)
        ]
        return bool(parts) and all(any(_equal(part, z) for z in outputs) for part in parts)

    def _without(self, modalities: Collection[str]) -> list[str]:
        found = {owner for blocks in self.blocks if blocks for owner in blocks.owners}
        return [modality for modality in modalities if modality not in found]

    def _fill_by_value(self, leaves: Sequence[Any], features: Sequence[tuple[str, Tensor]]) -> None:
        for index, leaf in enumerate(leaves):
            if isinstance(leaf, Tensor) and leaf.dim():
                blocks = self.blocks[index] or Blocks(-1, (None,), (leaf.shape[-1],))
                filled = _filled(blocks, leaf, features)
                if any(filled.owners):
                    self.blocks[index] = filled

    def _places(self, leaves: Sequence[Any], like: Optional["Layout"]) -> list[tuple[int, int]]:
        """Where features may be that belong to nobody so far: input, and part of it."""
        places = []
        for index, (leaf, blocks) in enumerate(zip(leaves, self.blocks, strict=True)):
            if blocks is not None:
                parts = zip(blocks.owners, blocks.widths, strict=True)
                places += [(index, part) for part, (o, w) in enumerate(parts) if o is None and w]
            elif (
                isinstance(leaf, Tensor)
                and leaf.is_floating_point()
                and leaf.dim() > 1
                and not _is_mask(leaf)
                and (like is None or like.is_for_features(index))
            ):
                places.append((index, 0))
        return places

    def _has(self, leaves: Sequence[Any], shapes: Collection[torch.Size]) -> bool:
        """Whether an input that belongs to nobody is of one of these shapes, by sample."""
        return any(
            blocks is None and isinstance(leaf, Tensor) and leaf.dim() and leaf.shape[1:] in shapes
            for leaf, blocks in zip(leaves, self.blocks, strict=True)
        )

    def _fill(self, index: int, part: int, modality: str, leaves: Sequence[Any]) -> None:
        blocks = self.blocks[index] or Blocks(-1, (None,), (leaves[index].shape[-1],))
        owners = [*blocks.owners]
        owners[part] = modality
        self.blocks[index] = Blocks(blocks.dim, tuple(owners), blocks.widths)

    def is_for_features(self, index: int) -> bool:
        """Whether an input holds features, somebody's or nobody's."""
        return self.blocks[index] is not None or self._is_foreign[index]

    def _belongs_to_nobody(self, index: int, leaf: Tensor, like: Optional["Layout"]) -> bool:
        """Whether an input is features of nobody, not a mask or a token.

        Features are not the same for all samples: read on the host, once per layout. One constant
        for all stands in the place of a modality that is absent.
        """
        if not leaf.is_floating_point() or leaf.dim() < 2:
            return False
        is_alone = leaf.shape[0] == 1
        if like is not None and (is_alone or self.absent):
            return like.is_for_features(index)
        if _is_mask(leaf):
            return False
        if is_alone and not self.absent:
            return not is_token(leaf)
        return bool(self.absent) or not torch.equal(leaf, leaf[:1].expand_as(leaf))


def _with_tokens(blocks: Blocks, leaf: Tensor) -> Blocks:
    """Tokens beside those of the modalities that are the same for all samples stay in the head."""
    if blocks.dim in (-1, -leaf.dim()) or None not in blocks.owners:
        return blocks
    parts = torch.split(leaf, [*blocks.widths], blocks.dim)
    owners = tuple(
        TOKEN if owner is None and torch.equal(part, part[:1].expand_as(part)) else owner
        for owner, part in zip(blocks.owners, parts, strict=True)
    )
    return Blocks(blocks.dim, owners, blocks.widths)


def _of_input(
    leaf: Tensor, owners: Owners, features: Sequence[tuple[str, Tensor]]
) -> Blocks | None:
    if (blocks := owners.blocks_of(leaf)) is not None:
        return blocks
    reached = owners.reach(leaf.grad_fn)
    if not leaf.dim() or not features:
        by_value = None
    else:
        by_value = _filled(Blocks(-1, (None,), (leaf.shape[-1],)), leaf, features)
    if by_value is not None and any(by_value.owners) and reached <= {*by_value.owners}:
        return by_value
    if len(reached) > 1:
        raise LookupError(
            f"an input of the head, of shape {tuple(leaf.shape)}, mixes modalities: it is not a "
            "concatenation of features that are each of one modality"
        )
    return None


def _filled(blocks: Blocks, leaf: Tensor, features: Sequence[tuple[str, Tensor]]) -> Blocks:
    """Match what belongs to nobody with encoders' outputs, by values read once per layout."""
    owners: list[str | None] = []
    widths: list[int] = []
    left = [(m, z) for m, z in features if z.dim() == leaf.dim()]
    parts = zip(blocks.owners, torch.split(leaf, [*blocks.widths], blocks.dim), strict=True)
    for owner, part in parts:
        if owner is not None:
            owners.append(owner)
            widths.append(part.shape[blocks.dim])
            continue
        start = 0
        while start < part.shape[blocks.dim]:
            position = _found_at(part, start, blocks.dim, left)
            if position is None:
                width = 1
                if not owners or owners[-1] is not None or not start:
                    owners.append(None)
                    widths.append(0)
                widths[-1] += 1
            else:
                modality, z = left.pop(position)
                width = z.shape[blocks.dim]
                owners.append(modality)
                widths.append(width)
            start += width
    return Blocks(blocks.dim, tuple(owners), tuple(widths))


def _found_at(
    part: Tensor, start: int, dim: int, features: Sequence[tuple[str, Tensor]]
) -> int | None:
    for position, (_, z) in enumerate(features):
        width = z.shape[dim]
        if not width or start + width > part.shape[dim]:
            continue
        piece = part.narrow(dim, start, width)
        if _equal(piece, z):
            return position
    return None


def _equal(part: Tensor, z: Tensor) -> bool:
    return part.shape == z.shape and torch.equal(part, z.to(part.dtype))


def _is_graphless(outputs: Sequence[Tensor]) -> bool:
    return not any(z.requires_grad for z in outputs)


def _is_mask(leaf: Tensor) -> bool:
    """Whether an input holds nothing but zeros, ones, and what masks add to attention."""
    return bool(((leaf == 0) | (leaf == 1) | (leaf <= _MASKED)).all())


def _not_found(modalities: Collection[str], leaves: Sequence[Any]) -> str:
    shapes = [tuple(leaf.shape) for leaf in leaves if isinstance(leaf, Tensor)]
    return (
        f"the features of {', '.join(modalities)} are not among the inputs of the head "
        f"(shapes {shapes})"
    )
