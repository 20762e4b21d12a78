"""What a method is given of the training that it is part of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.engine.book.tracker import Tracker
from inforeg_lightning.engine.distributed import Processes
from inforeg_lightning.engine.encoder import Encoder
from inforeg_lightning.engine.probe.head import HeadCall


@dataclass(frozen=True)
class Scales:
    """What a loss is multiplied by before its backward pass.

    Args:
        loss: All of it: one over the number of accumulated batches, times the scale of fp16.
        gradient: The scale of fp16, shape ``()``, that gradients are divided by before they are
            edited; ``None`` without one.
    """

    loss: float | Tensor = 1.0
    gradient: Tensor | None = None


@dataclass
class Context:
    """The training that a method is attached to.

    Args:
        name: Who the user constructed, for messages.
        modalities: Their names, in the order of all tensors of shape ``(M,)``.
        encoders: Modality -> its encoder, on the device it trains on.
        modules: Modality -> the modules that its encoder is made of.
        head: The fusion head, ``None`` if the training step reports its logits.
        head_path: As the user wrote it.
        processes: That train together.
        tracker: Window, traces and history.
        optimizers: That train the model.
        host: The Trainer, or the Regulator.
        heads: What makes unimodal logits for losses, see
            :class:`~inforeg_lightning.engine.unimodal_heads.UnimodalHeads`.
        scales: Of the (micro-)batch that is being trained.
    """

    name: str
    modalities: tuple[str, ...]
    encoders: Mapping[str, Encoder]
    modules: Mapping[str, Sequence[nn.Module]]
    head: nn.Module | None
    head_path: str | None
    processes: Processes
    tracker: Tracker
    optimizers: Sequence[Optimizer]
    host: Any
    heads: "Heads"
    scales: Scales = field(default_factory=Scales)

    @property
    def in_window(self) -> Mapping[str, bool]:
        """Modality -> whether the method acts on it in the period that is open."""
        return self.tracker.in_window

    @property
    def device(self) -> torch.device:
        """That of the first encoder that has parameters."""
        return self.tracker.device


@dataclass(frozen=True)
class HeadInputs:
    """The head's call in a training step before it is made, for a method to replace its features.

    Args:
        call: The call, with its graph.
        target: Of this (micro-)batch, as the user gives it.
        ignore_index: The target of a position that counts nowhere.
        present: Modality -> which samples have it, as in :class:`Forward`.
    """

    call: HeadCall
    target: Tensor
    ignore_index: float
    present: Mapping[str, Tensor]


@dataclass(frozen=True)
class Forward:
    """The head's call in a batch; in a training step for a method to edit what it returns.

    Args:
        call: The call, in training with its graph.
        output: What the head returned.
        target: Of this (micro-)batch, as the user gives it.
        ignore_index: The target of a position that counts nowhere.
        present: Modality -> which samples have it, shape ``(B,)``, bool; a modality that all
            samples have is left out. One that none has is in ``call.absent`` too.
    """

    call: HeadCall
    output: Tensor
    target: Tensor
    ignore_index: float
    present: Mapping[str, Tensor]


class Heads(Protocol):
    """What a method asks for the unimodal logits that its losses are of."""

    kind: str
    """``"own"``, ``"shared"`` or ``"given"``."""

    def parameters(self) -> list[nn.Parameter]:
        """Those of all heads; none if shared."""
        ...

    def logits(self, forward: Forward, detach_head: bool = False) -> dict[str, Tensor]:
        """Unimodal logits with their graph: modality that the batch has -> its logits.

        Args:
            forward: The joint head's call.
            detach_head: Whether a loss of these logits gives the heads no gradient.
        """
        ...
