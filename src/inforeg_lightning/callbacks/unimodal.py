"""Unimodal logits of a LightningModule that knows nothing of us, from forward hooks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, TypeVar
from weakref import ref

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten
from torch.utils.hooks import RemovableHandle

from inforeg_lightning.callbacks.head import REMEDY, HeadCall, plain_linear
from inforeg_lightning.callbacks.layout import Layout

T = TypeVar("T")
Target = int | str | Callable[[Any], Tensor] | None

OutputEdit = Callable[[HeadCall, Tensor], Tensor]
"""``(call, output) -> output``: what a training step goes on with in place of the head's output."""


class UnimodalProbe:
    """Watches the encoders and the head, and runs the head for one modality at a time.

    The features of each modality are found among the inputs of the head's first call in a
    ``training_step``; the unimodal logits of a modality are the head's output with the features of
    all others set to zero. A linear head gives each modality its share ``c / M`` of the bias, so
    that the unimodal logits add up to the fused ones.

    Args:
        encoders: Modality -> its modules.
        head: The fusion head; it is called with tensors, or lists and dicts of tensors.
        edit: Edits the output of the head's first call in a ``training_step``.
    """

    def __init__(
        self,
        encoders: Mapping[str, Sequence[nn.Module]],
        head: nn.Module,
        edit: OutputEdit | None = None,
    ) -> None:
        self.encoders = encoders
        self.head = head
        self.edit = edit
        self._linear = plain_linear(head)
        self._outputs: dict[str, list[Tensor]] = {modality: [] for modality in encoders}
        self._inputs: tuple[list[Any], TreeSpec] | None = None
        self._without_graph: tuple[list[Any], TreeSpec] | None = None
        self._layouts: dict[tuple[Any, ...], Layout] = {}
        self._watching = False
        self._edited = False
        before, after = _Hook(self, "head"), _Hook(self, "output")
        self._handles: list[RemovableHandle] = [
            head.register_forward_pre_hook(before, with_kwargs=True)
        ]
        if edit is not None:
            self._handles.append(head.register_forward_hook(after, with_kwargs=True))
        for modality, modules in encoders.items():
            hook = _Hook(self, "encoder", modality)
            self._handles += [module.register_forward_hook(hook) for module in modules]

    def start(self, editing: bool = True) -> None:
        """Forget the last batch and watch the next forward pass."""
        self._forget()
        self._watching = True
        self._edited = not editing

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
        return self.evaluate(autocast, HeadCall.unimodal)

    def evaluate(
        self, autocast: AbstractContextManager[None], function: Callable[[HeadCall], T]
    ) -> T | None:
        """What a function finds in the head's call just seen, as :meth:`logits` its logits."""
        inputs = self._inputs or self._without_graph
        if inputs is None:
            return None
        call = self._call(*inputs)
        self._forget()
        with torch.no_grad(), autocast, self._looking_away():
            return function(call)

    def see_encoder(self, modality: str, output: Any) -> None:
        """Keep an encoder's outputs until the head is called."""
        if self._watching and self._inputs is None:
            self._outputs[modality] += [
                leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor)
            ]

    def see_head(self, args: Any, kwargs: Any) -> None:
        """Keep the inputs of the head's first call, with their graph where it is still needed."""
        leaves, spec = tree_flatten((args, kwargs))
        if self._linear is not None:
            _check_width(self._linear, leaves[0], self.encoders)
        if not self._watching or self._inputs is not None:
            return
        if not torch.is_grad_enabled():
            # A teacher's pass, say; or reentrant checkpointing, where there is no other.
            self._without_graph = self._without_graph or (leaves, spec)
            return
        if _shapes(leaves) in self._layouts:
            leaves = [x.detach() if isinstance(x, Tensor) else x for x in leaves]
            for outputs in self._outputs.values():
                outputs.clear()
        self._inputs = (leaves, spec)

    # Traced into a compiled head or module, the edit would be lost.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def see_output(self, args: Any, kwargs: Any, output: Any) -> Tensor | None:
        """Edit the output of the call that :meth:`see_head` has kept."""
        if self.edit is None or not self._watching or self._inputs is None or self._edited:
            return None
        self._edited = True
        if not isinstance(output, Tensor):
            raise ValueError(
                "`head` must return the logits as one tensor, but returns "
                f"{type(output).__name__}. Give as `head` the module that makes the logits."
            )
        call = self._call(*tree_flatten((args, kwargs)))
        with self._looking_away():
            return self.edit(call, output)

    def _call(self, leaves: list[Any], spec: TreeSpec) -> HeadCall:
        layout = self._known_layout(leaves)
        if layout is None:
            try:
                layout = Layout(leaves, self._outputs, self.encoders)
            except LookupError as error:
                raise ValueError(f"`head` cannot be split: {error}. {REMEDY}") from None
            self._layouts[_shapes(leaves)] = layout
        return HeadCall(self.head, leaves, spec, layout, [*self.encoders])

    def _known_layout(self, leaves: Sequence[Any]) -> Layout | None:
        shapes = _shapes(leaves)
        known = self._layouts.get(shapes)
        if known is not None or any(isinstance(x, Tensor) and x.requires_grad for x in leaves):
            return known
        # No graph to tell, as in validation: samples are laid out alike in batches of any size.
        for others, layout in self._layouts.items():
            if _of_samples(others) == _of_samples(shapes) and layout.is_by_sample(leaves):
                return layout
        return None

    @contextmanager
    def _looking_away(self) -> Iterator[None]:
        self._watching = False
        try:
            yield
        finally:
            self._watching = True

    def _forget(self) -> None:
        self._inputs = self._without_graph = None
        self._edited = False
        for outputs in self._outputs.values():
            outputs.clear()


class _Hook:
    """A forward hook that a copied or pickled module forgets, instead of taking the probe along."""

    def __init__(
        self,
        probe: UnimodalProbe | None,
        sees: Literal["encoder", "head", "output"],
        modality: str = "",
    ) -> None:
        self.probe = None if probe is None else ref(probe)
        self.sees: Literal["encoder", "head", "output"] = sees
        self.modality = modality

    def __call__(self, module: nn.Module, args: Any, *rest: Any) -> Tensor | None:
        probe = None if self.probe is None else self.probe()
        if probe is None:
            return None
        if self.sees == "output":
            edited: Tensor | None = probe.see_output(args, *rest)
            return edited
        if self.sees == "head":
            probe.see_head(args, *rest)
        else:
            probe.see_encoder(self.modality, *rest)
        return None

    def __deepcopy__(self, memo: Any) -> "_Hook":
        return _Hook(None, self.sees, self.modality)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Hook, (None, self.sees, self.modality)


def find_target(batch: Any, target: Target) -> Tensor:
    """Find the class indices in a batch.

    Args:
        batch: What the data loader yields, on its device.
        target: A key, an index, an attribute or a callable; ``None`` for the key ``"label"`` of a
            mapping or the last element of a sequence.

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
            if isinstance(where, str) and not isinstance(batch, Mapping):
                found = getattr(batch, where)  # a dataclass or a named tuple
            else:
                found = batch[where]
        except (KeyError, IndexError, TypeError, AttributeError):
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


def _shapes(leaves: Sequence[Any]) -> tuple[Any, ...]:
    """What the layout of the inputs depends on: token sequences differ in length by batch."""
    return tuple(tuple(x.shape) if isinstance(x, Tensor) else None for x in leaves)


def _of_samples(shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(None if shape is None else shape[1:] for shape in shapes)


def _check_width(head: nn.Linear, features: Any, encoders: Mapping[str, Any]) -> None:
    if features.shape[-1] != head.in_features:
        raise ValueError(
            f"`head` takes features {head.in_features} wide, but the concatenated features of "
            f"{', '.join(encoders)} are {features.shape[-1]} wide. Give the head as many inputs as "
            "the encoders have outputs together."
        )
