"""Unimodal logits that a training step reports itself, and who listens."""

from collections.abc import Mapping
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
