"""Half precision, the loss scale of fp16, and accumulation."""

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from helpers.comparison import assert_close_weights
from helpers.methods import every_method, those
from helpers.modules import Late, assert_same_weights, make_batches
from helpers.precision import ScaledOnly, Single, fp16
from helpers.regulated import fit

EPOCHS = 2


def trained(callback, module=None, **settings):
    return fit(Single() if module is None else module, callback, max_epochs=EPOCHS, **settings)


def assert_equal(ours, theirs):
    for mine, reference in zip(ours["weights"], theirs["weights"], strict=True):
        assert_same_weights(mine, reference)


@those(lambda method: not method.draws)  # noise of another type is other noise
def test_bf16_trains_as_float32_nearly_does(method):
    half = trained(method(), precision="bf16-mixed")
    assert all(p.isfinite().all() for p in half["weights"][-1].values())
    assert [entry["skipped"] for entry in half["history"]] == [0] * EPOCHS
    plain = trained(method())
    assert_close_weights(half["weights"], plain["weights"], atol=0.05)


@every_method
@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_a_shut_window_changes_no_bit_in_half_precision(method, precision):
    def run(callback):
        if precision == "16-mixed":
            return trained(callback, plugins=[fp16(256.0)])
        return trained(callback, precision=precision)

    assert_equal(run(method(window="never")), run(None))


@every_method
def test_the_loss_scale_cancels_out(method):
    """To the bit where it is a power of two: nothing was computed of what it multiplies."""
    scaled = trained(method(), plugins=[fp16(2.0**14, ScaledOnly)])
    plain = trained(method())
    assert_equal(scaled, plain)
    assert scaled["history"] == plain["history"]


@those(lambda method: not method.from_micro_batches)
def test_accumulated_micro_batches_are_the_large_batch(method):
    large = trained(method(), Late(batches=make_batches(size=16)))
    parts = [
        {key: value[part : part + 4] for key, value in batch.items()}
        for batch in make_batches(size=16)
        for part in range(0, 16, 4)
    ]
    small = trained(method(), Late(batches=parts), accumulate_grad_batches=4)
    assert_close_weights(small["weights"], large["weights"], atol=1e-9)
    assert [entry["steps"] for entry in small["history"]] == [4] * EPOCHS


@those(lambda method: method.from_micro_batches)
def test_equal_micro_batches_are_one_of_them(method):
    """Also for methods that decide micro-batch by micro-batch: the weights of their losses hold."""
    once = trained(method(), Late(batches=make_batches(size=8)))
    twice = [batch for batch in make_batches(size=8) for _ in (0, 1)]
    repeated = trained(method(), Late(batches=twice), accumulate_grad_batches=2)
    assert_close_weights(repeated["weights"], once["weights"], atol=1e-9)


class Overflowing(Single):
    """The gradient of the second batch of every epoch is infinite."""

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if batch_idx == 1:
            loss.register_hook(lambda gradient: gradient * torch.inf)
        return loss


@every_method
@pytest.mark.filterwarnings("ignore:.*1 of 4 steps of period 0 had a loss, score or gradient")
def test_a_step_that_the_scaler_skips_is_counted(method):
    result = trained(method(), Overflowing(), plugins=[fp16(2.0**10, MixedPrecision)])
    assert [entry["skipped"] for entry in result["history"]] == [1] * EPOCHS
    assert all(p.isfinite().all() for p in result["weights"][-1].values())
