"""Every method, how tests construct it, and what it does not promise that the others do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor

from helpers.modules import encoder_paths
from inforeg_lightning import InfoRegCallback
from inforeg_lightning.callbacks import (
    AGMCallback,
    AlternatingGreedyCallback,
    AutoBalanceCallback,
    DGLCallback,
    GBlendingCallback,
    MethodCallback,
    MLBCallback,
    MMParetoCallback,
    ModalityDropoutCallback,
    MSLRCallback,
    OGMCallback,
    OGMGECallback,
    OPMCallback,
    PDMPCallback,
    PMRCallback,
    RedRegCallback,
    ReLearningCallback,
    TorchJDCallback,
    UnimodalLossesCallback,
)


@dataclass(frozen=True)
class Method:
    """A method with settings under which it shows after a few steps.

    Attributes:
        of: Its class.
        settings: Arguments that differ from the defaults.
        by_modality: Arguments that map modalities to numbers.
        draws: Draws noise modality by modality, so that their order matters.
        from_micro_batches: What it decides in the forward pass, it decides micro-batch by
            micro-batch: accumulation is then not the large batch.
        acts_before_the_loss: Edits or adds to the loss in the forward pass: before it can tell
            that the loss is infinite.
        acts_in_the_backward_pass: Edits it: before it can tell that a gradient is infinite.
        reaches_others: What it does to one modality changes the gradients of the others.
        by_validation: Goes by what validations say: more of them change it, and so does, where
            losses are weighted, a modality that leaves its window for the others.
        acts_between_epochs: Leaves the gradients of all steps alone.
        one_optimizer: Refuses several.
    """

    of: type[MethodCallback]
    settings: Mapping[str, Any] = field(default_factory=dict)
    by_modality: Sequence[str] = ()
    draws: bool = False
    from_micro_batches: bool = False
    acts_before_the_loss: bool = False
    acts_in_the_backward_pass: bool = False
    by_validation: bool = False
    reaches_others: bool = False
    acts_between_epochs: bool = False
    one_optimizer: bool = False

    def __call__(self, modalities: int = 2, **settings: Any) -> MethodCallback:
        given = {"encoders": encoder_paths(modalities), "head": "head", "window": "always"}
        given |= dict(self.settings) | settings
        for argument in self.by_modality:
            given[argument] = {name: _NUMBERS[name] for name in given["encoders"]}
        return self.of(**given)

    @property
    def quantities(self) -> tuple[str, ...]:
        """What its history holds by modality."""
        return ("trace", "score", *self().method.quantities)

    @property
    def makes_heads(self) -> bool:
        """Whether it lends the module unimodal heads, which the optimisers' states are of too."""
        return self().engine.adds_heads

    @property
    def needs_head(self) -> bool:
        return self().method.edits_head

    def __str__(self) -> str:
        return self.of.__name__.removesuffix("Callback")


_NUMBERS = {
    "audio": 0.5,
    "a": 0.5,
    "z": 0.5,
    "video": 1.5,
    "v": 1.5,
    "y": 1.5,
    "text": 0.8,
    "x": 0.8,
}
"""One for each modality, whatever a test calls it."""


def mean_direction(jacobian: Tensor) -> Tensor:
    """An aggregator that needs nothing installed, and reads nothing from the device."""
    return F.normalize(jacobian, dim=1).mean(dim=0)


METHODS = [
    Method(InfoRegCallback),
    Method(OGMCallback, {"alpha": 0.5}),
    Method(OGMGECallback, {"alpha": 0.5}, draws=True),
    Method(
        AlternatingGreedyCallback,
        {"tolerance": 0.0, "steps": 1},
        acts_before_the_loss=True,
        one_optimizer=True,
    ),
    Method(MSLRCallback, by_modality=("rates",)),
    Method(AGMCallback, from_micro_batches=True, acts_in_the_backward_pass=True),
    Method(PDMPCallback, {"gamma_p": 1.5, "gamma_r": 0.5}, by_modality=("performance",)),
    Method(
        AutoBalanceCallback,
        from_micro_batches=True,
        acts_before_the_loss=True,
        by_validation=True,
    ),
    Method(PMRCallback, {"mu": 0.5}, from_micro_batches=True, acts_before_the_loss=True),
    Method(DGLCallback, acts_before_the_loss=True),
    Method(MLBCallback, acts_before_the_loss=True),
    Method(
        GBlendingCallback,
        {"super_epoch": 1, "measure": "running"},
        acts_before_the_loss=True,
        by_validation=True,
    ),
    Method(MMParetoCallback, acts_before_the_loss=True),
    Method(ModalityDropoutCallback, draws=True, acts_before_the_loss=True, reaches_others=True),
    Method(
        OPMCallback,
        {"p_exe": 1.0},
        draws=True,
        from_micro_batches=True,
        acts_before_the_loss=True,
        reaches_others=True,
    ),
    Method(TorchJDCallback, {"aggregator": mean_direction}, acts_before_the_loss=True),
    # The modules of the tests have features of different widths, and noise depends on how batches
    # are split; tests of its own have both.
    Method(RedRegCallback, {"agreement": None, "noise": 0}, acts_before_the_loss=True),
    Method(ReLearningCallback, {"every": 1}, by_validation=True, acts_between_epochs=True),
    Method(UnimodalLossesCallback, acts_before_the_loss=True),
]


def those(kept: Callable[[Method], bool]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("method", [m for m in METHODS if kept(m)], ids=str)


every_method = those(lambda method: True)
