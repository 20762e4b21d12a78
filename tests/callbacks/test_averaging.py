"""Weight averaging beside it: the training is the same, and so is the average."""

import pytest
import torch
from lightning.pytorch.callbacks import EMAWeightAveraging, StochasticWeightAveraging
from torch.utils.data import DataLoader

from helpers.modules import Late, assert_same_weights, snapshot
from helpers.regulated import fit, inforeg

DECAY = 0.9


class Validated(Late):
    """Validation swaps the average in and out; every step's weights are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = []

    def validation_step(self, batch, batch_idx: int) -> None:
        self(batch)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None)

    def optimizer_step(self, *args, **kwargs) -> None:
        super().optimizer_step(*args, **kwargs)
        self.steps.append(snapshot(self))


@pytest.fixture(scope="module")
def alone():
    return fit(Validated(), inforeg(), num_sanity_val_steps=0)


@pytest.mark.parametrize("first", [True, False])
def test_ema(alone, first):
    callback, averaging = inforeg(), EMAWeightAveraging(decay=DECAY)
    module = Validated()
    order = [callback, averaging] if first else [averaging, callback]
    fit(module, callback, callbacks=order, num_sanity_val_steps=0)

    assert callback.history == alone["history"]
    for ours, theirs in zip(module.epoch_weights, alone["weights"], strict=True):
        assert_same_weights(ours, theirs)
    average = module.steps[0]
    for step in module.steps[1:]:
        average = {name: DECAY * average[name] + (1 - DECAY) * step[name] for name in step}
    for name, parameter in module.named_parameters():  # the average, swapped in at the end
        torch.testing.assert_close(parameter.detach(), average[name], rtol=0, atol=1e-12)


@pytest.mark.parametrize("first", [True, False])
def test_swa(alone, first):
    callback = inforeg()
    averaging = StochasticWeightAveraging(swa_lrs=0.1, swa_epoch_start=3, annealing_epochs=1)
    module = Validated()
    order = [callback, averaging] if first else [averaging, callback]
    fit(module, callback, callbacks=order, num_sanity_val_steps=0)

    assert callback.history == alone["history"]
    for ours, theirs in zip(module.epoch_weights, alone["weights"], strict=True):
        assert_same_weights(ours, theirs)
    # It averages what it finds when the epochs 2 to 5 begin.
    for name, parameter in module.named_parameters():
        epochs = torch.stack([weights[name] for weights in module.epoch_weights[1:-1]])
        torch.testing.assert_close(parameter.detach(), epochs.mean(0), rtol=0, atol=1e-12)
