"""Half precision: bf16-mixed, and fp16 with a loss scale."""

import pytest
import torch

from helpers.comparison import assert_close_weights
from helpers.precision import Single, fp16
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


def test_fp16_trains_as_float32_nearly_does():
    half = fit(Single(), inforeg(window="always"), plugins=[fp16(2.0**10)], max_epochs=2)
    assert [entry["skipped"] for entry in half["history"]] == [0, 0]
    plain = fit(Single(), inforeg(window="always"), max_epochs=2)
    assert_close_weights(half["weights"], plain["weights"], atol=2e-3)
    for ours, theirs in zip(half["history"], plain["history"], strict=True):
        for quantity in ("trace", "alpha", "score"):
            assert ours[quantity] == pytest.approx(theirs[quantity], rel=0.02)


class Fused(Single):
    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), fused=True)


def test_a_fused_optimiser_under_a_loss_scale_is_refused():
    with pytest.raises(ValueError, match=r"Adam\(fused=True\) unscales fp16 gradients"):
        fit(Fused(), inforeg(), plugins=[fp16(1024.0)])
    fit(Fused(), inforeg(), precision="bf16-mixed", max_epochs=1)
