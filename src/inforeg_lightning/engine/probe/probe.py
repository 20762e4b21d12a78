"""Unimodal logits of a model that knows nothing of us, from forward hooks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten
from torch.utils.hooks import RemovableHandle

from inforeg_lightning.engine.probe.forward_hook import ForwardHook
from inforeg_lightning.engine.probe.graph import present_in
from inforeg_lightning.engine.probe.head import HeadCall, plain_linear, remedy
from inforeg_lightning.engine.probe.layout import Layout
from inforeg_lightning.engine.probe.marks import Marks
from inforeg_lightning.engine.probe.precision import Precision

T = TypeVar("T")

Inputs = tuple[list[Any], TreeSpec, "_Key"]
"""Those of a call of the head, flattened; how they were nested; what their layout depends on."""

_Key = tuple[tuple[tuple[int, ...] | None, ...], frozenset[str]]
"""The shapes of the inputs, for token sequences differ in length; and whose features are there."""

Edit = Callable[[HeadCall, Tensor], Tensor]
"""``(call, output) -> output``: what a training step goes on with in place of the head's output.
It has to run inside the forward pass, so that it cannot be a return value."""

Replace = Callable[[HeadCall], list[Any] | None]
"""``call -> inputs``: what the head is to see in a training step, flattened; ``None``: its own."""


class UnimodalProbe:
    """Watches the encoders and the head, and runs the head for one modality at a time.

    The features of each modality are found among the inputs of the head's first call in a training
    step; the unimodal logits of a modality are the head's output with the features of all others
    set to zero. A linear head gives each modality its share ``c / M`` of the bias, so that the
    unimodal logits add up to the fused ones. A modality whose encoder was not called, and whose
    features are not there, is absent from the batch.

    Args:
        encoders: Modality -> its modules.
        head: The fusion head; it is called with tensors, or lists and dicts of tensors.
        edit: Edits the output of the head's first call in a training step.
        replace: Replaces the inputs of that call; the logits of :meth:`logits` are of its own.
    """

    def __init__(
        self,
        encoders: Mapping[str, Sequence[nn.Module]],
        head: nn.Module,
        edit: Edit | None = None,
        replace: Replace | None = None,
    ) -> None:
        self.encoders = encoders
        self.head = head
        self.edit = edit
        self.replace = replace
        self.layout: Layout | None = None
        """That of the last call looked at."""
        self.context: Callable[[], AbstractContextManager[None]] | None = None
        """The precision of the forward pass, where the loop knows it; else as found in the pass."""
        self._linear = plain_linear(head)
        self._outputs: dict[str, list[Tensor]] = {modality: [] for modality in encoders}
        self._called: set[str] = set()
        self._known: set[str] = set()
        self._never_called: set[str] = set()
        self._marks = Marks(encoders)
        self._inputs: Inputs | None = None
        self._without_graph: Inputs | None = None
        self._call_before: HeadCall | None = None
        self._precision: Precision | None = None
        self._layouts: dict[_Key, Layout] = {}
        self._of_nobody: list[str] = []
        self._watching = False
        self._edited = False
        self._is_training = True
        before, after = ForwardHook(self, "head"), ForwardHook(self, "output")
        self._handles: list[RemovableHandle] = [
            head.register_forward_pre_hook(before, with_kwargs=True)
        ]
        if edit is not None:
            self._handles.append(head.register_forward_hook(after, with_kwargs=True))
        for modality, modules in encoders.items():
            hook = ForwardHook(self, "encoder", modality)
            self._handles += [module.register_forward_hook(hook) for module in modules]

    def watches(self, encoders: Mapping[str, Sequence[nn.Module]], head: nn.Module) -> bool:
        """Whether these are the very modules that are watched."""
        return head is self.head and all(
            len(modules) == len(self.encoders[modality])
            and all(a is b for a, b in zip(modules, self.encoders[modality], strict=True))
            for modality, modules in encoders.items()
        )

    def start(self, editing: bool = True) -> None:
        """Forget the last batch and watch the next forward pass."""
        self._forget()
        self._watching = True
        self._is_training = editing
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

    def logits(self) -> dict[str, Tensor] | None:
        """Unimodal logits of the forward pass just seen, and forget it.

        Returns:
            Modality -> logits, shape ``(B, C)``, without graph, in the precision of the forward
            pass; ``None`` if the head was not called since the last time.

        Raises:
            ValueError: The features of the modalities are not recognised in the head's inputs, or
                the head returns something else than logits.
        """
        return self.evaluate(HeadCall.unimodal)

    def evaluate(self, function: Callable[[HeadCall], T]) -> T | None:
        """What a function finds in the head's call just seen, as :meth:`logits` its logits."""
        inputs = self._inputs or self._without_graph
        if inputs is None:
            return None
        call = self._call(*inputs)
        precision = self._precision_again()
        self._forget()
        if call is None:
            return None
        with torch.no_grad(), precision, self._looking_away():
            return function(call)

    def see_encoder(self, modality: str, output: Any) -> Any:
        """Keep an encoder's outputs until the head is called; mark those of a frozen one.

        Returns:
            The outputs to go on with, ``None`` for those that there are.
        """
        if not self._watching or self._inputs is not None:
            return None
        self._called.add(modality)
        marked = self._marks.put(modality, output) if self._is_training else None
        self._outputs[modality] += [
            leaf
            for leaf in tree_flatten(output if marked is None else marked)[0]
            if isinstance(leaf, Tensor)
        ]
        return marked

    def see_head(self, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        """Keep the inputs of the head's first call, with their graph where it is still needed.

        Returns:
            The inputs to go on with, ``None`` for those that there are.
        """
        leaves, spec = tree_flatten((args, kwargs))
        if self._linear is not None:
            _check_width(self._linear, leaves[0], self.encoders)
        if not self._watching or self._inputs is not None:
            return None
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if tensors and self.context is None and not torch.compiler.is_compiling():
            self._precision = Precision(tensors[0])
        if not torch.is_grad_enabled():
            # A teacher's pass, say; or reentrant checkpointing, where there is no other.
            self._without_graph = self._without_graph or (leaves, spec, self._key(leaves))
            return None
        key = self._key(leaves)
        if key in self._layouts:
            leaves = [x.detach() if isinstance(x, Tensor) else x for x in leaves]
            for outputs in self._outputs.values():
                outputs.clear()
        self._inputs = (leaves, spec, key)
        return None if self.replace is None or self._edited else self._replaced(args, kwargs)

    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def _replaced(self, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        assert self._inputs is not None
        assert self.replace is not None
        leaves, spec = tree_flatten((args, kwargs))
        self._call_before = call = self._call(leaves, spec, self._inputs[2])
        if call is None:
            return None
        with self._looking_away():
            new = self.replace(call)
        return None if new is None else tree_unflatten(new, spec)

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
        call, self._call_before = self._call_before, None
        if call is None:
            call = self._call(*tree_flatten((args, kwargs)), self._inputs[2])
        if call is None:
            return None
        with self._looking_away():
            return self.edit(call, output)

    def of_nobody(self) -> list[str]:
        """Which features in the head's last inputs belong to no encoder, in words."""
        return self._of_nobody

    def _call(self, leaves: list[Any], spec: TreeSpec, key: _Key) -> HeadCall | None:
        layout = self._known_layout(leaves, key)
        if layout is None:
            if not key[1] and not self._called and self._known:
                return None  # a batch without any modality
            try:
                layout = Layout(
                    leaves,
                    self._outputs,
                    self.encoders,
                    self._marks.made,
                    self._known,
                    self._like(key),
                )
            except LookupError as error:
                raise ValueError(
                    f"`head` cannot be split: {error}. {remedy(self.encoders)}"
                ) from None
            self._learn(layout, leaves, key)
        self.layout = layout
        return HeadCall(self.head, leaves, spec, layout, [*self.encoders])

    def _learn(self, layout: Layout, leaves: list[Any], key: _Key) -> None:
        """Remember a new layout, and what it says of batches to come."""
        found = frozenset(self.encoders) - layout.absent
        self._layouts[key[0], found] = layout
        self._of_nobody = layout.of_nobody(leaves)
        self._known |= found
        if torch.is_grad_enabled() and self._inputs is not None:
            self._never_called |= found - self._called
        self._marks.needless |= {  # found by value, or though the mark was lost
            m
            for m, _ in self._marks.made
            if layout.holds(m, leaves, self._outputs[m]) or m in found - key[1]
        }

    def _known_layout(self, leaves: Sequence[Any], key: _Key) -> Layout | None:
        known = self._layouts.get(key)
        if known is not None or any(isinstance(x, Tensor) and x.requires_grad for x in leaves):
            return known
        # No graph to tell, as in validation: samples are laid out alike in batches of any size.
        for (others, present), layout in self._layouts.items():
            alike = _of_samples(others) == _of_samples(key[0]) and present == key[1]
            if alike and layout.is_by_sample(leaves):
                return layout
        return None

    def _like(self, key: _Key) -> Layout | None:
        """The layout known of inputs of the same kinds: the most complete, of the most samples."""
        known = [
            (-len(layout.absent), max(shape[0] for shape in others if shape), layout)
            for (others, _), layout in self._layouts.items()
            if [shape and len(shape) for shape in others] == [s and len(s) for s in key[0]]
        ]
        return max(known, key=lambda entry: entry[:2])[2] if known else None

    def _key(self, leaves: Sequence[Any]) -> _Key:
        shapes = tuple(tuple(x.shape) if isinstance(x, Tensor) else None for x in leaves)
        if torch.compiler.is_compiling() or not torch.is_grad_enabled():
            return shapes, frozenset(self._called | self._never_called)
        return shapes, present_in(leaves, self.encoders, self._outputs, self._called)

    def _precision_again(self) -> AbstractContextManager[None]:
        if self.context is not None:
            return self.context()
        return nullcontext() if self._precision is None else self._precision.again()

    @contextmanager
    def _looking_away(self) -> Iterator[None]:
        self._watching = False
        try:
            yield
        finally:
            self._watching = True

    def _forget(self) -> None:
        self._inputs = self._without_graph = self._precision = self._call_before = None
        self._edited = False
        self._called = set()
        self._marks.made = []
        for outputs in self._outputs.values():
            outputs.clear()


def _of_samples(shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(None if shape is None else shape[1:] for shape in shapes)


def _check_width(head: nn.Linear, features: Any, encoders: Mapping[str, Any]) -> None:
    if features.shape[-1] != head.in_features:
        raise ValueError(
            f"`head` takes features {head.in_features} wide, but the concatenated features of "
            f"{', '.join(encoders)} are {features.shape[-1]} wide. Give the head as many inputs as "
            "the encoders have outputs together."
        )
