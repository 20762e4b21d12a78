"""Unimodal logits of a model that knows nothing of us, from forward hooks."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, TypeVar
from weakref import ref

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten, tree_map
from torch.utils.hooks import RemovableHandle

from inforeg_lightning.engine.probe.head import HeadCall, plain_linear, remedy
from inforeg_lightning.engine.probe.layout import Layout
from inforeg_lightning.engine.probe.precision import Precision

T = TypeVar("T")

Edit = Callable[[HeadCall, Tensor], Tensor]
"""``(call, output) -> output``: what a training step goes on with in place of the head's output.
It has to run inside the forward pass, so that it cannot be a return value."""


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
    """

    def __init__(
        self,
        encoders: Mapping[str, Sequence[nn.Module]],
        head: nn.Module,
        edit: Edit | None = None,
    ) -> None:
        self.encoders = encoders
        self.head = head
        self.edit = edit
        self.layout: Layout | None = None
        """That of the last call looked at."""
        self.context: Callable[[], AbstractContextManager[None]] | None = None
        """The precision of the forward pass, where the loop knows it; else as found in the pass."""
        self._linear = plain_linear(head)
        self._frozen = {
            modality
            for modality, modules in encoders.items()
            if not any(p.requires_grad for module in modules for p in module.parameters())
        }
        self._outputs: dict[str, list[Tensor]] = {modality: [] for modality in encoders}
        self._called: set[str] = set()
        self._marks: list[tuple[str, Tensor]] = []
        self._marked: set[tuple[Any, ...]] = set()
        self._inputs: tuple[list[Any], TreeSpec] | None = None
        self._without_graph: tuple[list[Any], TreeSpec] | None = None
        self._precision: Precision | None = None
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
        marks = len(self._marks)
        if modality in self._frozen and not torch.compiler.is_compiling():
            output = self._mark(modality, output)
        self._outputs[modality] += [
            leaf for leaf in tree_flatten(output)[0] if isinstance(leaf, Tensor)
        ]
        return output if len(self._marks) > marks else None

    def see_head(self, args: Any, kwargs: Any) -> None:
        """Keep the inputs of the head's first call, with their graph where it is still needed."""
        leaves, spec = tree_flatten((args, kwargs))
        if self._linear is not None:
            _check_width(self._linear, leaves[0], self.encoders)
        if not self._watching or self._inputs is not None:
            return
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        if tensors and self.context is None and not torch.compiler.is_compiling():
            self._precision = Precision(tensors[0])
        if not torch.is_grad_enabled():
            # A teacher's pass, say; or reentrant checkpointing, where there is no other.
            self._without_graph = self._without_graph or (leaves, spec)
            return
        if self._key(leaves) in self._layouts:
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

    def of_nobody(self) -> list[str]:
        """Which features in the head's last inputs belong to no encoder, in words."""
        return [] if self.layout is None else self._of_nobody

    def _call(self, leaves: list[Any], spec: TreeSpec) -> HeadCall:
        layout = self._known_layout(leaves)
        if layout is None:
            try:
                layout = Layout(leaves, self._outputs, self.encoders, self._marks)
            except LookupError as error:
                raise ValueError(
                    f"`head` cannot be split: {error}. {remedy(self.encoders)}"
                ) from None
            self._layouts[self._key(leaves)] = layout
            self._marked |= {(m, tuple(z.shape)) for m, z in self._marks}
            self._of_nobody = layout.of_nobody(leaves)
        self.layout = layout
        return HeadCall(self.head, leaves, spec, layout, [*self.encoders])

    def _known_layout(self, leaves: Sequence[Any]) -> Layout | None:
        key = self._key(leaves)
        known = self._layouts.get(key)
        if known is not None or any(isinstance(x, Tensor) and x.requires_grad for x in leaves):
            return known
        # No graph to tell, as in validation: samples are laid out alike in batches of any size.
        for (others, called), layout in self._layouts.items():
            alike = _of_samples(others) == _of_samples(key[0]) and called == key[1]
            if alike and layout.is_by_sample(leaves):
                return layout
        return None

    def _key(self, leaves: Sequence[Any]) -> tuple[Any, ...]:
        """What the layout depends on: token sequences differ in length, batches in modalities."""
        shapes = tuple(tuple(x.shape) if isinstance(x, Tensor) else None for x in leaves)
        return shapes, frozenset(self._called)

    def _mark(self, modality: str, output: Any) -> Any:
        """Have a graph begin at the outputs of a frozen encoder, to find them again in the head."""

        def mark(leaf: Any) -> Any:
            if (
                not isinstance(leaf, Tensor)
                or not leaf.is_floating_point()
                or leaf.requires_grad
                or leaf.is_inference()
                or (modality, tuple(leaf.shape)) in self._marked
            ):
                return leaf
            leaf = leaf.detach().requires_grad_()
            self._marks.append((modality, leaf))
            return leaf

        return tree_map(mark, output)

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
        self._inputs = self._without_graph = self._precision = None
        self._edited = False
        self._called = set()
        self._marks = []
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

    def __call__(self, module: nn.Module, args: Any, *rest: Any) -> Any:
        probe = None if self.probe is None else self.probe()
        if probe is None:
            return None
        if self.sees == "output":
            return probe.see_output(args, *rest)
        if self.sees == "head":
            probe.see_head(args, *rest)
            return None
        return probe.see_encoder(self.modality, *rest)

    def __deepcopy__(self, memo: Any) -> "_Hook":
        return _Hook(None, self.sees, self.modality)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Hook, (None, self.sees, self.modality)


def _of_samples(shapes: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(None if shape is None else shape[1:] for shape in shapes)


def _check_width(head: nn.Linear, features: Any, encoders: Mapping[str, Any]) -> None:
    if features.shape[-1] != head.in_features:
        raise ValueError(
            f"`head` takes features {head.in_features} wide, but the concatenated features of "
            f"{', '.join(encoders)} are {features.shape[-1]} wide. Give the head as many inputs as "
            "the encoders have outputs together."
        )
