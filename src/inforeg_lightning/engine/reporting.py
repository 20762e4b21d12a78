"""Unimodal logits that a training step reports itself, and who listens."""

from collections.abc import Collection, Mapping
from typing import Protocol
from weakref import WeakKeyDictionary, WeakSet

from torch import Tensor, nn


class Listener(Protocol):
    """What takes reports."""

    def receive(self, logits: Mapping[str, Tensor | None], target: Tensor) -> None:
        """Take the unimodal logits of a batch."""


_LISTENERS: WeakKeyDictionary[nn.Module, WeakSet[Listener]] = WeakKeyDictionary()


def listen(listener: Listener, module: nn.Module) -> None:
    """Have a listener hear of what is reported for a model."""
    _LISTENERS.setdefault(module, WeakSet()).add(listener)


def ignore(listener: Listener) -> None:
    """Have a listener hear of nothing more."""
    for listeners in _LISTENERS.values():
        listeners.discard(listener)


def report_unimodal(module: nn.Module, logits: Mapping[str, Tensor | None], target: Tensor) -> None:
    """Report a batch's unimodal logits to the callbacks or regulators of a model.

    For models whose head cannot be split from outside. Call it in ``training_step`` (and
    ``validation_step``, for scores of validation) of a LightningModule, or in the training step of
    a loop of your own. Where nothing listens it does nothing.

    Args:
        module: The model; in a LightningModule ``self``.
        logits: Modality -> unimodal logits, shape ``(B, C)`` for the built-in scores; ``None`` for
            a modality that the batch does not have.
        target: Class indices, shape ``(B,)``, or what the ``score`` takes.

    Several reports of one step add up, as micro-batches do.

    Raises:
        ValueError: The names are not those of ``encoders``, or a ``head`` was given.
        TypeError: ``module`` is not a module, or logits or target are not tensors.

    Example::

        def training_step(self, batch, batch_idx):
            logits_a, logits_v, fused = self(batch["audio"], batch["video"])
            report_unimodal(self, {"audio": logits_a, "video": logits_v}, batch["label"])
            return F.cross_entropy(fused, batch["label"])
    """
    if not isinstance(module, nn.Module):
        raise TypeError(
            "`module` must be the model (in a LightningModule, `self`), but is a "
            f"{type(module).__name__}"
        )
    for name, value in {**logits, "target": target}.items():
        if not isinstance(value, Tensor) and (name == "target" or value is not None):
            raise TypeError(f"`{name}` must be a tensor, but is a {type(value).__name__}")
    for listener in list(_LISTENERS.get(module, ())):
        listener.receive(logits, target)


def check_report(
    logits: Mapping[str, Tensor | None],
    modalities: Collection[str],
    head_path: str | None,
    name: str,
) -> None:
    """Check that what is reported is what is waited for.

    Raises:
        ValueError: There is a head already, or the names are others.
    """
    if head_path is not None:
        raise ValueError(
            f"unimodal logits are reported, but `head={head_path!r}` is given too. Leave out "
            "`head=` to use what training_step reports."
        )
    if set(logits) != set(modalities):
        raise ValueError(
            f"`report_unimodal` got logits of {sorted(logits)}, but {name} has encoders of "
            f"{sorted(modalities)}. Report every modality by the same name, None if the batch does "
            "not have it."
        )


def no_logits(head_path: str | None) -> str:
    """What to say where a training step has made no unimodal logits."""
    what = (
        "`head` was not given, and training_step made no `report_unimodal(...)` call."
        if head_path is None
        else f"`head={head_path!r}` was not called in training_step (in a loop of your own: inside "
        "`with regulator.batch(...)`)."
    )
    return (
        f"there are no unimodal logits: {what} Pass the attribute path of the module that makes "
        "the logits as `head=`, or report them."
    )
