"""TorchJD: any of its aggregators over the joint and the unimodal loss of each encoder."""

from collections.abc import Sequence

import torch
from torch import Tensor

from inforeg_lightning.core.mmpareto import pareto_weight
from inforeg_lightning.core.torchjd import Aggregator, aggregated
from inforeg_lightning.engine.checks import shown
from inforeg_lightning.engine.method import WindowArgument
from inforeg_lightning.engine.unimodal_heads import HeadsArgument
from inforeg_lightning.methods.mmpareto import MMPareto


class TorchJD(MMPareto):
    """Step each encoder by what an aggregator makes of its two gradients (Quinton & Rey, 2024).

    See :class:`~inforeg_lightning.callbacks.TorchJDCallback` for the equations, and for what
    ``history`` holds. All but the aggregation is as in MMPareto.

    Args:
        aggregator: ``(2, P) -> (P,)``: the gradients of joint and unimodal loss, in this order, to
            the one that is stepped by. ``None`` is TorchJD's ``UPGrad()``.
        unimodal_losses_included: Whether the model's own loss has the unimodal losses already,
            each with weight 1; they are then not added again.
        window: When it acts.
        unimodal_heads: ``"own"``, ``"shared"`` or a mapping; what the unimodal losses are of.

    Raises:
        ImportError: ``aggregator`` is left out, and TorchJD is not installed.
        TypeError: ``aggregator`` cannot be called.
    """

    name = "torchjd"
    quantities = ("cosine", "unimodal_loss")

    def __init__(
        self,
        aggregator: Aggregator | None = None,
        unimodal_losses_included: bool = False,
        window: WindowArgument = "always",
        unimodal_heads: HeadsArgument = "own",
    ) -> None:
        super().__init__(
            unimodal_losses_included=unimodal_losses_included,
            window=window,
            unimodal_heads=unimodal_heads,
        )
        if aggregator is not None and not callable(aggregator):
            raise TypeError(
                "`aggregator` must be an aggregator of TorchJD or another callable "
                f"(2, P) -> (P,), but is {shown(aggregator)}"
            )
        self.aggregator = _upgrad() if aggregator is None else aggregator

    @property
    def settings(self) -> dict[str, object]:
        """Aggregator, whose the unimodal losses are, and window."""
        return {
            "aggregator": self.aggregator,
            "unimodal_losses_included": self.unimodal_losses_included,
            "unimodal_heads": self.unimodal_heads,
            "window": self.window,
        }

    def combine(
        self, joint: Sequence[Tensor], unimodal: Sequence[Tensor], acts: Tensor
    ) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Aggregate both gradients; of several processes, the first one's result is that of all."""
        edited = aggregated(self.aggregator, [joint, unimodal], acts)
        processes = self.context.processes
        if processes.size > 1:  # an aggregator may draw random numbers
            flat = torch.cat([g.flatten() for g in edited])
            flat = processes.sum(flat if processes.rank == 0 else torch.zeros_like(flat))
            parts = torch.split(flat, [g.numel() for g in edited])
            edited = [part.view_as(g) for part, g in zip(parts, edited, strict=True)]
        cosine, _ = pareto_weight(joint, unimodal)
        return edited, (cosine,)


def _upgrad() -> Aggregator:
    try:
        from torchjd.aggregation import UPGrad

        aggregator: Aggregator = UPGrad()  # which asks for what projects when it is made
    except ImportError as error:
        raise ImportError(
            "the default `aggregator`, UPGrad, is TorchJD's: pip install "
            "inforeg-lightning[torchjd]. Or give any callable (2, P) -> (P,)."
        ) from error
    return aggregator
