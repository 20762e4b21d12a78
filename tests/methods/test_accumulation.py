"""Accumulated micro-batches are the large batch."""

import pytest
import torch

from helpers.comparison import assert_close_weights
from helpers.methods import METHODS, every_method, those
from helpers.modules import Late, make_batches
from helpers.regulated import fit, inforeg
from inforeg_lightning import InfoRegCallback

EPOCHS = 2


class Validated(Late):
    """On one large batch, however the training is split."""

    def validation_step(self, batch, batch_idx):
        self(batch)

    def val_dataloader(self):
        batches, own = make_batches(size=16)[:1], torch.Generator()
        return torch.utils.data.DataLoader(batches, batch_size=None, generator=own)


def trained(method, batches, parts):
    """An InfoReg with a window that opens and closes, any other method with an open one."""
    callback, epochs = (inforeg(), 6) if method.of is InfoRegCallback else (method(), EPOCHS)
    module = Validated(batches=batches)
    return fit(module, callback, max_epochs=epochs, accumulate_grad_batches=parts)


@those(lambda method: not method.from_micro_batches)
@pytest.mark.parametrize("parts", [1, 2, 4])
def test_accumulated_batches_are_the_large_batch(method, parts):
    size = 16 // parts
    batches = [
        {key: value[part * size : (part + 1) * size] for key, value in batch.items()}
        for batch in make_batches(size=16)
        for part in range(parts)
    ]
    large = trained(method, make_batches(size=16), 1)
    small = trained(method, batches, parts)
    assert_close_weights(small["weights"], large["weights"], atol=1e-9)
    for mine, reference in zip(small["history"], large["history"], strict=True):
        assert mine["steps"] == 4
        assert mine["in_window"] == reference["in_window"]
        for quantity in method.quantities:
            for modality, value in reference[quantity].items():
                expected = value if value is None else pytest.approx(value, rel=1e-8, abs=1e-12)
                assert mine[quantity][modality] == expected, (quantity, modality)


@those(lambda method: method.from_micro_batches and not method.draws)
def test_equal_micro_batches_are_one_of_them(method):
    """Also for methods that decide micro-batch by micro-batch: the weights of their losses hold."""
    once = trained(method, make_batches(size=8), 1)
    twice = [batch for batch in make_batches(size=8) for _ in (0, 1)]
    repeated = trained(method, twice, 2)
    assert_close_weights(repeated["weights"], once["weights"], atol=1e-9)


@every_method
def test_batches_left_over_at_the_end_of_an_epoch_make_a_step_of_their_own(method):
    result = trained(method, make_batches(batches=5), 2)
    assert {entry["steps"] for entry in result["history"]} == {3}


def test_the_window_of_inforeg_opens_and_closes():
    """Else the comparison above would not be of its decisions."""
    assert METHODS[0].of is InfoRegCallback
    history = trained(METHODS[0], make_batches(size=16), 1)["history"]
    decisions = [entry["in_window"]["audio"] for entry in history]
    assert True in decisions
    assert False in decisions[decisions.index(True) :]
