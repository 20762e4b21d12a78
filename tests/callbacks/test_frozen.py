"""Frozen parts of encoders, and encoders unfrozen during training."""

import pytest
import torch
from lightning.pytorch.callbacks import BaseFinetuning

from helpers.modules import Late, assert_same_weights, snapshot
from helpers.regulated import fit, inforeg
from inforeg_lightning import InfoRegCallback

UNFROZEN_AT = 3


class PartlyFrozen(Late):
    def __init__(self) -> None:
        super().__init__()
        self.audio_encoder[0].requires_grad_(False)


def test_only_the_trained_part_of_an_encoder_counts():
    whole = inforeg(window="always")
    ours = fit(PartlyFrozen(), whole)
    part = InfoRegCallback(
        {"audio": "audio_encoder.2", "video": "video_encoder"},
        head="head",
        beta=0.7,
        window="always",
    )
    theirs = fit(PartlyFrozen(), part)
    assert whole.history == part.history
    for mine, reference in zip(ours["weights"], theirs["weights"], strict=True):
        assert_same_weights(mine, reference)


class Unfreeze(BaseFinetuning):
    """Trains the audio encoder from an epoch on, in a parameter group of its own."""

    def freeze_before_training(self, pl_module) -> None:
        self.freeze(pl_module.audio_encoder)

    def finetune_function(self, pl_module, epoch, optimizer) -> None:
        if epoch == UNFROZEN_AT:
            self.unfreeze_and_add_param_group(
                pl_module.audio_encoder, optimizer, lr=0.1, initial_denom_lr=1.0
            )


class OnlyTrainable(Late):
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], **self.sgd)


@pytest.fixture(scope="module")
def unfrozen():
    callback = inforeg(window="always")
    module = OnlyTrainable()
    start = snapshot(module)
    fit(module, callback, callbacks=[Unfreeze(), callback])
    return callback, module, start


def test_an_encoder_is_regulated_from_when_it_is_unfrozen(unfrozen):
    callback, module, start = unfrozen
    history = callback.history
    for epoch, entry in enumerate(history):
        if epoch < UNFROZEN_AT:
            assert entry["trace"]["audio"] == entry["penalty"]["audio"] == 0.0
            for name in ("audio_encoder.0.weight", "audio_encoder.2.bias"):
                assert torch.equal(module.epoch_weights[epoch][name], start[name])
        else:
            assert entry["trace"]["audio"] > 0.0
    assert sum(entry["penalty"]["audio"] for entry in history) > 0.0
    assert all(entry["trace"]["video"] > 0.0 for entry in history)


def test_the_order_of_the_callbacks_does_not_matter(unfrozen):
    callback, module, _ = unfrozen
    other, theirs = inforeg(window="always"), OnlyTrainable()
    fit(theirs, other, callbacks=[other, Unfreeze()])
    assert other.history == callback.history
    for mine, reference in zip(module.epoch_weights, theirs.epoch_weights, strict=True):
        assert_same_weights(mine, reference)
