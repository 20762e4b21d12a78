"""Half precision, and the loss scale of fp16."""

import math
import warnings

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision

from helpers.comparison import assert_close_weights
from helpers.methods import every_method, those
from helpers.modules import assert_same_weights, snapshot
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


class Overflowing(Single):
    """The gradient of the second batch of every epoch is infinite."""

    def on_train_batch_start(self, batch, batch_idx):
        self.before = snapshot(self)

    def on_train_batch_end(self, outputs, batch, batch_idx):
        if batch_idx == 1:
            assert_same_weights(snapshot(self), self.before)

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        if batch_idx == 1:
            loss.register_hook(lambda gradient: gradient * torch.inf)
        return loss


@every_method
def test_a_step_that_the_scaler_skips_is_counted_and_warned_of_once(method):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = trained(method(), Overflowing(), plugins=[fp16(2.0**10, MixedPrecision)])
    (said,) = [str(w.message) for w in caught if str(w.message).startswith(method.of.__name__)]
    assert "1 of 4 steps of period 0 had a loss, score or gradient that was not finite" in said
    assert [entry["skipped"] for entry in result["history"]] == [1] * EPOCHS
    assert all(p.isfinite().all() for p in result["weights"][-1].values())
    for entry in result["history"]:
        for quantity in method.quantities:
            for value in entry[quantity].values():
                assert value is None or math.isfinite(value), quantity
