"""Unimodal heads: what makes logits of the features of one modality alone, for unimodal losses."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from inforeg_lightning.core._dtensor import is_sharded
from inforeg_lightning.engine.checks import resolve, shown
from inforeg_lightning.engine.context import Forward
from inforeg_lightning.engine.own_heads import (
    NAME,
    HiddenHeads,
    joined,
    make_own,
    own_logits,
)
from inforeg_lightning.engine.probe.head import called_detached

HeadsArgument = str | Mapping[str, str | nn.Module]
"""What a user may write for ``unimodal_heads``; see :class:`UnimodalHeads`."""


def check_unimodal_heads(argument: object) -> HeadsArgument:
    """Check what a user writes for ``unimodal_heads``, before the modalities are known.

    Raises:
        ValueError: It is another name than ``"own"`` and ``"shared"``.
        TypeError: It is of another kind than described.
    """
    if isinstance(argument, str):
        if argument not in ("own", "shared"):
            raise ValueError(
                f"`unimodal_heads` must be 'own', 'shared' or a mapping, but is {argument!r}"
            )
        return argument
    if not isinstance(argument, Mapping) or not all(
        isinstance(head, nn.Module) or (isinstance(head, str) and head)
        for head in argument.values()
    ):
        raise TypeError(
            "`unimodal_heads` must be 'own', 'shared', or map each modality to an attribute path "
            "or a module, for example {'audio': 'audio_classifier', 'video': nn.Linear(512, 6)}, "
            f"but is {shown(argument)}"
        )
    return dict(argument)


class UnimodalHeads:
    """The unimodal heads of a method; what methods ask for logits.

    Args:
        argument: ``"own"``: a linear head per modality, made here; ``"shared"``: the joint head,
            with the features of one modality (its columns, if it is linear); or a mapping from each
            modality to a module of the user's: its attribute path, or the module itself, which then
            becomes a part of the model if it is not one yet.
        modalities: Their names.
        name: Who the user constructed, for errors.

    Attributes:
        kind: ``"own"``, ``"shared"`` or ``"given"``.
        modules: Modality -> its head, once found; empty if shared.
        last: What :meth:`logits` has returned last, without graph; ``None`` if shared. The scores
            of the step are of these logits then.

    Raises:
        ValueError: A mapping has other modalities.
    """

    def __init__(self, argument: HeadsArgument, modalities: Sequence[str], name: str) -> None:
        self.kind = argument if isinstance(argument, str) else "given"
        self.modules: dict[str, nn.Module] = {}
        self.last: dict[str, Tensor] | None = None
        self._given = {} if isinstance(argument, str) else dict(argument)
        self._modalities = tuple(modalities)
        self._name = name
        self._added: HiddenHeads | None = None
        self._model: nn.Module | None = None
        self._in_model: HiddenHeads | None = None
        self._loaded: Mapping[str, Mapping[str, Tensor]] | None = None
        self._made_for: list[int] = []
        self._give_up: Callable[[], None] | None = None
        if self.kind == "given" and set(self._given) != set(modalities):
            raise ValueError(
                f"`unimodal_heads` must have a head for each of {[*modalities]}, but has them for "
                f"{[*self._given]}"
            )

    # Before training

    @property
    def adds(self) -> bool:
        """Whether there are heads that the model has not got by itself."""
        modules = [head for head in self._given.values() if isinstance(head, nn.Module)]
        return self.kind == "own" or bool(modules)

    def make(
        self, model: nn.Module, encoders: Mapping[str, Sequence[nn.Module]], head: nn.Module
    ) -> None:
        """Make the heads that the model has not got, unless they are made for these very modules.

        Args:
            model: That is trained.
            encoders: Modality -> its modules.
            head: The joint head.

        Raises:
            ValueError: It cannot be told how wide the features are, or parameters are sharded.
        """
        self._refuse_sharded([head, *(part for parts in encoders.values() for part in parts)])
        made_for = [id(part) for parts in (*encoders.values(), [head]) for part in parts]
        if self._added is None or made_for != self._made_for:
            self.remove_from_model()  # so that what is given is not found there
            self._made_for = made_for
            made: Mapping[str, nn.Module]
            if self.kind == "own":
                made = make_own(encoders, head)
            else:
                parts = {*model.modules()}
                modules = {m: h for m, h in self._given.items() if isinstance(h, nn.Module)}
                made = {m: h for m, h in modules.items() if h not in parts}
            self._added = HiddenHeads(made)
            self._load()
        self.modules |= self._added.by_modality

    def add_to(self, model: nn.Module) -> None:
        """Make the heads a part of the model: its optimisers and processes then have them.

        They are no part of its ``state_dict``, which stays that of the model alone.

        Raises:
            ValueError: The model has an attribute of that name already.
        """
        if not self._added:
            return
        self.remove_from_model()
        place, number = NAME, 1
        while isinstance(getattr(model, place, None), HiddenHeads):  # another callback's
            number += 1
            place = f"{NAME}_{number}"
        if hasattr(model, place):
            first = self._modalities[0]
            raise ValueError(
                f"{type(model).__name__} has an attribute {place!r} already, and {self._name} "
                f"would put its unimodal heads there. To train with the module's own, map to them: "
                f"unimodal_heads={{{first!r}: '{place}.{first}', ...}}. Else rename it."
            )
        self._added.place = place
        setattr(model, place, self._added)
        self._model, self._in_model = model, self._added

    def waits_for(self, give_up: Callable[[], None]) -> None:
        """Remember how to give up what waits for the model to make its modules."""
        self._give_up = give_up

    def find(self, model: nn.Module) -> None:
        """Find the heads that the model has by itself.

        Raises:
            ValueError: A path leads nowhere.
        """
        for modality, given in self._given.items():
            if isinstance(given, str):
                found = resolve(model, given, f"unimodal_heads[{modality!r}]")
                self._refuse_sharded([found])
                self.modules[modality] = found
            else:
                self.modules[modality] = given

    # In training

    def logits(self, forward: Forward, detach_head: bool = False) -> dict[str, Tensor]:
        """Unimodal logits: modality that the batch has -> of the shape of the joint logits.

        Args:
            forward: The joint head's call, with its graph.
            detach_head: Whether a loss of these logits gives the heads no gradient, but only what
                made the features.

        Raises:
            ValueError: A head does not fit the features of its modality.
        """
        if self.kind == "shared":
            return forward.call.unimodal(detach_head)
        features = forward.call.features()
        found = {}
        for modality in forward.call.present:
            head = self.modules[modality]
            call = called_detached(head) if detach_head else head
            whole = joined(modality, features[modality], self._name)
            if self.kind == "own":
                assert isinstance(head, nn.Linear)
                found[modality] = own_logits(modality, head, call, whole, forward.output)
            else:
                found[modality] = self._given_logits(modality, call(whole))
        self.last = {modality: logits.detach() for modality, logits in found.items()}
        return found

    def parameters(self) -> list[nn.Parameter]:
        """Those of all heads; none if shared."""
        return list({id(p): p for m in self.modules.values() for p in m.parameters()}.values())

    def added_parameters(self) -> list[nn.Parameter]:
        """Those of the heads that the model has not got by itself, as far as they are trained."""
        added = () if self._added is None else self._added.parameters()
        return [parameter for parameter in added if parameter.requires_grad]

    def to(self, device: torch.device) -> None:
        """Move the heads that were added to a device."""
        if self._added is not None:
            self._added.to(device)

    # After it

    def remove(self) -> None:
        """Leave the model as it was; the heads that were added are kept in ``modules``."""
        if self._give_up is not None:
            self._give_up()
        self._give_up = None
        self.remove_from_model()

    def remove_from_model(self) -> None:
        """Take the heads out of the model they were added to."""
        for name, part in () if self._model is None else [*self._model.named_children()]:
            if part is self._in_model:
                delattr(self._model, name)
        self._model = self._in_model = None

    def reset(self) -> None:
        """Begin afresh: forget the heads that were made."""
        self.remove()
        self._added = self._loaded = None
        self.modules = {}

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """Modality -> the weights of its head, on the CPU; only of heads that were added."""
        heads = {} if self._added is None else self._added.by_modality
        return {
            modality: {name: weight.detach().cpu() for name, weight in head.state_dict().items()}
            for modality, head in heads.items()
        }

    def check_state(self, state: Mapping[str, Any], adds: bool) -> None:
        """Refuse a checkpoint whose optimisers have heads that these have not, or the reverse.

        Args:
            state: What was saved of the heads.
            adds: Whether some are made for the model.

        Raises:
            ValueError: With what to pass.
        """
        if adds and self._added is None:
            return  # not made yet, so that it cannot be told
        if bool(state) != bool(self._added):
            was, now = ("with", "without") if state else ("without", "with")
            raise ValueError(
                f"the checkpoint's {self._name} was saved {was} unimodal heads of its own, which "
                f"its optimiser states are of, but this one trains {now}. Pass the same "
                "`unimodal_heads`, or start without ckpt_path from the checkpoint's weights."
            )

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Go on from saved weights, now or as soon as the heads are made."""
        self._loaded = state
        self._load()

    # Inside

    def _load(self) -> None:
        if self._added is None or not self._loaded:
            return
        for modality, head in self._added.by_modality.items():
            head.load_state_dict(self._loaded[modality])
        self._loaded = None

    def _given_logits(self, modality: str, output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise ValueError(
                f"`unimodal_heads[{modality!r}]` must return the logits as one tensor, but returns "
                f"{type(output).__name__}"
            )
        return output

    def _refuse_sharded(self, modules: Iterable[nn.Module]) -> None:
        if any(is_sharded(p) for module in modules for p in module.parameters()):
            raise ValueError(
                f"{self._name} has unimodal heads that are trained beside parameters sharded by "
                "FSDP2, which would not average them. Pass unimodal_heads='shared', or use "
                "strategy='ddp'."
            )
