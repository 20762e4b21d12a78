"""Half precision: bf16-mixed, and fp16 with a loss scale."""

import warnings

import pytest
import torch
from torch import Tensor

from helpers.comparison import assert_close_weights
from helpers.modules import assert_same_weights, snapshot
from helpers.precision import ScaledOnly, Single, fp16
from helpers.regulated import fit, inforeg, plain_loop


def test_bf16_trains_as_a_plain_loop_does():
    ours = fit(Single(), inforeg(window="always"), precision="bf16-mixed", max_epochs=2)
    theirs = plain_loop(
        Single(), epochs=2, autocast=lambda: torch.autocast("cpu", dtype=torch.bfloat16)
    )
    assert_close_weights(ours["weights"], theirs, atol=1e-3)
    unregulated = fit(Single(), None, precision="bf16-mixed", max_epochs=2)
    with pytest.raises(AssertionError, match="audio"):
        assert_close_weights(ours["weights"], unregulated["weights"], atol=5e-3)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_measuring_changes_no_bit_in_half_precision(precision):
    settings = {"precision": precision} if precision == "bf16-mixed" else {}

    def trained(callback):
        plugins = [fp16(256.0)] if precision == "16-mixed" else None
        return fit(Single(), callback, plugins=plugins, **settings)["weights"]

    for ours, theirs in zip(trained(inforeg(window="never")), trained(None), strict=True):
        assert_same_weights(ours, theirs)


def test_the_loss_scale_cancels_out():
    scaled = fit(Single(), inforeg(window="always"), plugins=[fp16(2.0**14, ScaledOnly)])
    plain = fit(Single(), inforeg(window="always"))
    for ours, theirs in zip(scaled["weights"], plain["weights"], strict=True):
        assert_same_weights(ours, theirs)
    assert scaled["history"] == plain["history"]


def test_fp16_trains_as_float32_nearly_does():
    half = fit(Single(), inforeg(window="always"), plugins=[fp16(2.0**10)], max_epochs=2)
    assert [entry["skipped"] for entry in half["history"]] == [0, 0]
    plain = fit(Single(), inforeg(window="always"), max_epochs=2)
    assert_close_weights(half["weights"], plain["weights"], atol=2e-3)
    for ours, theirs in zip(half["history"], plain["history"], strict=True):
        for quantity in ("trace", "alpha", "score"):
            assert ours[quantity] == pytest.approx(theirs[quantity], rel=0.02)


class Overflowing(Single):
    """The gradient of the second batch of every epoch is infinite."""

    def on_train_batch_start(self, batch, batch_idx: int) -> None:
        self.before = snapshot(self)
        self.overflows = batch_idx == 1

    def on_train_batch_end(self, *_) -> None:
        if self.overflows:
            assert_same_weights(snapshot(self), self.before)

    def training_step(self, batch, batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        if self.overflows:
            loss.register_hook(lambda gradient: gradient * torch.inf)
        return loss


def test_a_skipped_step_is_counted_and_warned_of_once():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = fit(Overflowing(), inforeg(window="always"), plugins=[fp16(2.0**10)], max_epochs=3)
    ours = [w for w in caught if "InfoRegCallback" in str(w.message)]
    assert len(ours) == 1
    assert "1 of 4 steps of period 0 had a loss, score or gradient that was not finite" in str(
        ours[0].message
    )
    assert [entry["skipped"] for entry in result["history"]] == [1, 1, 1]
    assert all(
        torch.isfinite(torch.tensor([*entry["trace"].values(), *entry["alpha"].values()])).all()
        for entry in result["history"]
    )


class Fused(Single):
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), fused=True)


def test_a_fused_optimiser_under_a_loss_scale_is_refused():
    with pytest.raises(ValueError, match=r"Adam\(fused=True\) unscales fp16 gradients"):
        fit(Fused(), inforeg(), plugins=[fp16(1024.0)])
    fit(Fused(), inforeg(), precision="bf16-mixed", max_epochs=1)
