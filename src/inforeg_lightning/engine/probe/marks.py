"""Marks the outputs of frozen encoders, to find them again among the inputs of the head."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map


class Marks:
    """Has an autograd graph begin at the outputs of frozen encoders.

    A frozen encoder leaves no graph, and pooling or flattening behind it would hide its features. A
    modality whose outputs reach the head as they are is found by value, and needs no mark.

    Args:
        encoders: Modality -> its modules.
    """

    def __init__(self, encoders: Mapping[str, Sequence[nn.Module]]) -> None:
        self._encoders = encoders
        self.made: list[tuple[str, Tensor]] = []
        """Those of the forward pass that is watched: modality, and where its graph begins."""
        self.needless: set[str] = set()
        """Modalities that are found without."""

    def put(self, modality: str, output: Any) -> Any | None:
        """Mark what an encoder returned.

        Returns:
            The output to go on with; ``None`` if it stays as it is.
        """
        if modality in self.needless or torch.compiler.is_compiling():
            return None
        marks = len(self.made)
        frozen: bool | None = None

        def mark(leaf: Any) -> Any:
            nonlocal frozen
            if not isinstance(leaf, Tensor) or leaf.requires_grad or leaf.is_inference():
                return leaf
            if frozen is None:
                frozen = self._is_frozen(modality)
            if not frozen or not leaf.is_floating_point():
                return leaf
            with torch.enable_grad():
                start = leaf.detach().requires_grad_()
                self.made.append((modality, start))
                return start.clone()  # a module may go on in place, which a leaf would refuse

        output = tree_map(mark, output)
        return output if len(self.made) > marks else None

    def _is_frozen(self, modality: str) -> bool:
        return not any(p.requires_grad for m in self._encoders[modality] for p in m.parameters())
