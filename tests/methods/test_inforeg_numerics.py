"""Numbers that stay sound: through a real Trainer, with what data and training can throw at it.

What happens in each case is stated in ``docs/numbers.md``.
"""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.modules import Late, assert_same_weights, encoder_paths, make_batches
from helpers.numerics import WINDOWS, assert_finite
from helpers.precision import in_single
from helpers.regulated import always, fit, official
from inforeg_lightning import InfoRegCallback, report_unimodal
from inforeg_lightning.core.scores import linear_unimodal_logits, log_probability

NOT_ALWAYS = [window for window in WINDOWS if window != "always"]  # every method has the rest


class Extreme(Late):
    """Logits of ±1e4, in single precision."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"lr": 1e-9} | kwargs)
        self.float()
        self.batches = in_single(self.batches)
        with torch.no_grad():
            scale = 1e4 / self(self.batches[0]).abs().max()
            self.head.weight.mul_(scale)
            self.head.bias.mul_(scale)
        self.seen = []

    def training_step(self, batch, batch_idx):
        fused = self(batch)
        self.seen.append(fused.detach().abs().max().item())
        return F.cross_entropy(fused, batch["label"])


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("make", [*WINDOWS, official])
def test_extreme_logits(make, precision):
    callback = official(3) if make is official else always(3, window=make)
    module = fit(Extreme(3), callback, precision=precision, max_epochs=4)["module"]
    assert max(module.seen) > 9e3
    assert_finite(callback.history, module)
    assert all(entry["skipped"] == 0 for entry in callback.history)
    if make == "always":
        # Gaps of thousands: tanh is 1, the strongest gets e^β, the weakest nothing.
        entry = callback.history[0]
        assert max(entry["gap"].values()) > 100
        assert all(0 <= alpha <= math.exp(0.9) + 1e-6 for alpha in entry["alpha"].values())
        assert max(entry["alpha"].values()) > 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_extreme_logits_of_any_precision_may_be_reported(dtype):
    class Reporting(Late):
        def training_step(self, batch, batch_idx):
            features = self.features(batch)
            logits = linear_unimodal_logits(self.head.weight, self.head.bias, features)
            fused = sum(logits.values())
            extreme = {name: (1e4 * torch.sign(x.detach())).to(dtype) for name, x in logits.items()}
            report_unimodal(self, extreme, batch["label"])
            return F.cross_entropy(fused, batch["label"])

    callback = InfoRegCallback(encoder_paths(), window="always")
    module = fit(Reporting(), callback, max_epochs=4)["module"]
    assert_finite(callback.history, module)
    assert callback.history[0]["skipped"] == 0
    assert max(callback.history[0]["alpha"].values()) > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_score_of_ones_own_may_be_of_lower_precision_than_the_weights(dtype):
    def margin(logits, target):
        return (logits.gather(1, target[:, None])[:, 0] - logits.mean(1)).to(dtype)

    callback = always(score=margin)
    module = fit(Late(), callback, max_epochs=4)["module"]
    assert_finite(callback.history, module)
    assert max(callback.history[0]["alpha"].values()) > 0


def test_scores_of_half_precision_do_not_overflow_in_their_sum():
    def huge(logits, target):
        return (logits[:, 0].sign() * 1e4 + 3e4).half()

    callback = always(score=huge)
    module = fit(Late(), callback, max_epochs=4)["module"]
    assert_finite(callback.history, module)
    assert all(2e4 <= score <= 4e4 for score in callback.history[0]["score"].values())


@pytest.mark.parametrize("make", [*NOT_ALWAYS, official])
def test_batches_of_one_sample(make):
    callback = official() if make is official else always(window=make)
    module = fit(Late(batches=make_batches(size=1)), callback, max_epochs=4)["module"]
    assert_finite(callback.history, module)
    assert all(entry["skipped"] == 0 for entry in callback.history)


@pytest.mark.parametrize("make", [*NOT_ALWAYS, official])
def test_batches_of_one_class(make):
    batches = make_batches()
    for label, batch in enumerate(batches):
        batch["label"] = torch.full_like(batch["label"], label % 3)
    callback = official() if make is official else always(window=make)
    module = fit(Late(batches=batches), callback, max_epochs=4)["module"]
    assert_finite(callback.history, module)


def test_a_problem_of_one_class_regulates_nobody():
    class OneClass(Late):
        def make_head(self, width):
            return nn.Linear(width, 1)

    batches = [b | {"label": torch.zeros_like(b["label"])} for b in make_batches()]
    callback = always(score=log_probability)  # the built-in scores are for two or more
    module = fit(OneClass(batches=batches), callback, max_epochs=4)["module"]
    assert_finite(callback.history)
    for entry in callback.history:
        assert set(entry["alpha"].values()) == set(entry["gap"].values()) == {0.0}
        assert set(entry["trace"].values()) == {0.0}
    for ours, theirs in zip(
        module.epoch_weights,
        fit(OneClass(batches=batches), None, max_epochs=4)["weights"],
        strict=True,
    ):
        assert_same_weights(ours, theirs)


def test_modalities_that_tie_are_none_of_them_regulated():
    class Same(Late):
        def training_step(self, batch, batch_idx):
            logits = self(batch)
            report_unimodal(self, {"audio": logits, "video": logits}, batch["label"])
            return F.cross_entropy(logits, batch["label"])

    callback = InfoRegCallback(encoder_paths(), window="always")
    module = fit(Same(), callback, max_epochs=4)["module"]
    assert all(set(entry["alpha"].values()) == {0.0} for entry in callback.history)
    assert_same_weights(module.epoch_weights[-1], fit(Late(), None, max_epochs=4)["weights"][-1])


class Scaled(Late):
    """The gradient of the video encoder is multiplied by a factor."""

    factor = 0.0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for parameter in self.video_encoder.parameters():
            parameter.register_hook(lambda gradient: gradient * self.factor)


@pytest.mark.parametrize("window", WINDOWS)
def test_a_modality_whose_gradient_is_zero(window):
    callback = always(window=window, K=0.0)
    # The published window needs a gate with a trace; the zero one is no gate here.
    module = fit(Scaled(), callback, max_epochs=4)["module"]
    assert_finite(callback.history, module)
    for entry in callback.history:
        assert entry["trace"]["video"] == 0.0
        assert entry["trace"]["audio"] > 0.0
        assert entry["change"]["video"] in (None, 0.0)
    open_ = [entry["in_window"]["video"] for entry in callback.history]
    if window == "paper":  # nothing rises
        assert not any(open_)
    if window == "adaptive":  # nothing has a peak to fall from
        assert all(open_)


def test_a_gate_whose_trace_is_zero_leaves_only_period_0_open():
    callback = InfoRegCallback.official(encoder_paths(), head="head", gate="video")
    module = fit(Scaled(), callback, max_epochs=4)["module"]
    assert_finite(callback.history, module)
    assert [e["in_window"]["audio"] for e in callback.history] == [True, False, False, False]


# 1e-160 in double and 1e-22 in single precision: their squares are denormal.
@pytest.mark.parametrize(("factor", "single"), [(1e-160, False), (1e-22, True), (1e-45, True)])
@pytest.mark.parametrize("window", WINDOWS)
def test_a_denormal_trace(window, factor, single):
    module = Scaled()
    module.factor = factor
    if single:
        module.float()
        module.batches = in_single(module.batches)
    callback = always(window=window)
    fit(module, callback, max_epochs=4)
    assert_finite(callback.history, module)
    smallest = torch.finfo(torch.float32 if single else torch.float64).tiny
    for entry in callback.history:
        assert entry["skipped"] == 0
        assert 0 <= entry["trace"]["video"] < 100 * smallest
        assert entry["change"]["video"] is None or entry["change"]["video"] <= 1


def test_a_gradient_whose_square_overflows_is_not_finite_either():
    module = Scaled(lr=0.0)
    module.float()
    module.batches = in_single(module.batches)
    module.factor = 1e30
    callback = always()
    with pytest.warns(UserWarning, match="4 of 4 steps"):
        fit(module, callback, max_epochs=4)
    assert [entry["skipped"] for entry in callback.history] == [4] * 4
    assert callback.history[-1]["trace"] == {"audio": 0.0, "video": 0.0}
