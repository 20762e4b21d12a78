"""Unimodal logits of a LightningModule that knows nothing of us, from forward hooks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten
from torch.utils.hooks import RemovableHandle

from inforeg_lightning.callbacks.layout import Layout
from inforeg_lightning.core.scores import at_least_float32
from inforeg_lightning.core.shards import whole

Target = int | str | Callable[[Any], Tensor] | None

_REMEDY = "Report the logits from training_step with `report_unimodal(...)` and leave out `head=`."


class UnimodalProbe:
    """Watches the encoders and the head, and runs the head for one modality at a time.

    The features of each modality are found among the inputs of the head's first call in a
    ``training_step``; the unimodal logits of a modality are the head's output with the features of
    all others set to zero. A linear head gives each modality its share ``c / M`` of the bias, so
    that the unimodal logits add up to the fused ones.

    Args:
        encoders: Modality -> its modules.
        head: The fusion head; it is called with tensors, or lists and dicts of tensors.
    """

    def __init__(self, encoders: Mapping[str, Sequence[nn.Module]], head: nn.Module) -> None:
        self.encoders = encoders
        self.head = head
        self._outputs: dict[str, list[Tensor]] = {modality: [] for modality in encoders}
        self._inputs: tuple[list[Any], TreeSpec] | None = None
        self._layout: Layout | None = None
        self._watching = False
        self._handles: list[RemovableHandle] = [
            head.register_forward_pre_hook(self._see_head, with_kwargs=True)
        ]
        for modality, modules in encoders.items():
            self._handles += [
                module.register_forward_hook(self._encoder_hook(modality)) for module in modules
            ]

    def start(self) -> None:
        """Forget the last batch and watch the next forward pass."""
        self._forget()
        self._watching = True

    def stop(self) -> None:
        """Let go of everything captured."""
        self._forget()
        self._watching = False

    def close(self) -> None:
        """Remove the hooks."""
        self.stop()
        for handle in self._handles:
            handle.remove()

    def logits(self, autocast: AbstractContextManager[None]) -> dict[str, Tensor] | None:
        """Unimodal logits of the forward pass just seen, and forget it.

        Args:
            autocast: The precision that the module's own forward pass runs in.

        Returns:
            Modality -> logits, shape ``(B, C)``, without graph; ``None`` if the head was not called
            since the last time.

        Raises:
            ValueError: The features of the modalities are not recognised in the head's inputs, or
                the head returns something else than logits.
        """
        if self._inputs is None:
            return None
        leaves, spec = self._inputs
        if self._layout is None:
            try:
                self._layout = Layout(leaves, self._outputs, self.encoders)
            except LookupError as error:
                raise ValueError(f"`head` cannot be split: {error}. {_REMEDY}") from None
        self._forget()
        self._watching = False
        with torch.no_grad(), autocast, _evaluating(self.head):
            if isinstance(self.head, nn.Linear):
                result = _linear_shares(self.head, leaves[0], self._layout, [*self.encoders])
            else:
                result = {
                    modality: self._run(self._layout.keep_only(modality, leaves), spec)
                    for modality in self.encoders
                }
        self._watching = True
        return result

    def _run(self, leaves: list[Any], spec: TreeSpec) -> Tensor:
        args, kwargs = tree_unflatten(leaves, spec)
        output = self.head(*args, **kwargs)
        if not isinstance(output, Tensor):
            raise ValueError(
                "`head` must return the logits as one tensor, but returns "
                f"{type(output).__name__}. {_REMEDY}"
            )
        return output

    def _forget(self) -> None:
        self._inputs = None
        for outputs in self._outputs.values():
            outputs.clear()

    def _encoder_hook(self, modality: str) -> Callable[[nn.Module, Any, Any], None]:
        def see_encoder(module: nn.Module, args: Any, output: Any) -> None:
            # Once the layout is known, holding on to the outputs would only cost memory.
            if self._watching and self._layout is None and torch.is_grad_enabled():
                self._outputs[modality] += [
                    leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor)
                ]

        return see_encoder

    def _see_head(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        leaves, spec = tree_flatten((args, kwargs))
        if isinstance(module, nn.Linear):
            _check_width(module, leaves[0], self.encoders)
        if self._watching and self._inputs is None and torch.is_grad_enabled():
            if (
                self._layout is not None
            ):  # the graph is needed once, to tell whose features are whose
                leaves = [x.detach() if isinstance(x, Tensor) else x for x in leaves]
            self._inputs = (leaves, spec)


def find_target(batch: Any, target: Target) -> Tensor:
    """Find the class indices in a batch.

    Args:
        batch: What the data loader yields, on its device.
        target: A key, an index or a callable; ``None`` for the key ``"label"`` of a mapping or the
            last element of a sequence.

    Returns:
        The target, a tensor.

    Raises:
        ValueError: There is no such thing in the batch.
    """
    if callable(target):
        found = target(batch)
    else:
        where: str | int | None
        if isinstance(batch, Mapping):
            where, has = "label" if target is None else target, f"a mapping with keys {[*batch]}"
        elif isinstance(batch, Sequence) and not isinstance(batch, str):
            where, has = -1 if target is None else target, f"a sequence of {len(batch)} elements"
        else:
            where, has = target, f"of type {type(batch).__name__}"
        try:
            found = batch[where]
        except (KeyError, IndexError, TypeError):
            raise ValueError(
                f"`target={target!r}` is not found: the batch is {has}. Pass the key, the index or "
                "a callable `batch -> class indices` as `target=`."
            ) from None
    if not isinstance(found, Tensor):
        raise ValueError(
            f"`target={target!r}` must lead to a tensor of class indices, but leads to "
            f"{type(found).__name__}. Pass the key, the index or a callable as `target=`."
        )
    return found


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
                shares[modality] += F.linear(z[..., part], weight[:, part])
    return shares


def _check_width(head: nn.Linear, features: Any, encoders: Mapping[str, Any]) -> None:
    if features.shape[-1] != head.in_features:
        raise ValueError(
            f"`head` takes features {head.in_features} wide, but the concatenated features of "
            f"{', '.join(encoders)} are {features.shape[-1]} wide. Give the head as many inputs as "
            "the encoders have outputs together."
        )


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
