"""Numbers that stay sound: through a real Trainer, with what data and training can throw at it.

What happens in each case is stated in ``docs/numbers.md``.
"""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.modules import Late, assert_same_weights, encoder_paths, make_batches, snapshot
from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback, report_unimodal
from inforeg_lightning.core.scores import linear_unimodal_logits, log_probability

WINDOWS = ["always", "paper", "official", "adaptive", "outside", "never"]
PER_MODALITY = ("trace", "change", "score", "gap", "alpha", "pull", "penalty")


def regulated(modalities=2, **settings):
    return InfoRegCallback(
        encoder_paths(modalities), head="head", **{"window": "always"} | settings
    )


def official(modalities=2):
    return InfoRegCallback.official(
        encoder_paths(modalities), head="head", strength=(0.9, 0.5, 0.1)[:modalities]
    )


def fit(module, callback, epochs=4, **settings):
    callbacks = [] if callback is None else [callback]
    quiet_trainer(max_epochs=epochs, callbacks=callbacks, **settings).fit(module)
    return module


def assert_finite(history, module=None, none_from=1):
    """Every number of the history; only the first period has no change."""
    for entry in history:
        for quantity in PER_MODALITY:
            for modality, value in entry[quantity].items():
                where = f"period {entry['period']}: {quantity} of {modality} is {value}"
                if quantity == "change" and entry["period"] < none_from:
                    assert value is None, where
                else:
                    assert math.isfinite(value), where
    if module is not None:
        assert all(p.isfinite().all() for p in module.parameters())


def in_float32(batches):
    return [{k: v.float() if v.is_floating_point() else v for k, v in b.items()} for b in batches]


class Extreme(Late):
    """Logits of ±1e4, in single precision."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"lr": 1e-9} | kwargs)
        self.float()
        self.batches = in_float32(self.batches)
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
    callback = official(3) if make is official else regulated(3, window=make)
    module = fit(Extreme(3), callback, precision=precision)
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
    module = fit(Reporting(), callback)
    assert_finite(callback.history, module)
    assert callback.history[0]["skipped"] == 0
    assert max(callback.history[0]["alpha"].values()) > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_a_score_of_ones_own_may_be_of_lower_precision_than_the_weights(dtype):
    def margin(logits, target):
        return (logits.gather(1, target[:, None])[:, 0] - logits.mean(1)).to(dtype)

    callback = regulated(score=margin)
    module = fit(Late(), callback)
    assert_finite(callback.history, module)
    assert max(callback.history[0]["alpha"].values()) > 0


def test_scores_of_half_precision_do_not_overflow_in_their_sum():
    def huge(logits, target):
        return (logits[:, 0].sign() * 1e4 + 3e4).half()

    callback = regulated(score=huge)
    module = fit(Late(), callback)
    assert_finite(callback.history, module)
    assert all(2e4 <= score <= 4e4 for score in callback.history[0]["score"].values())


@pytest.mark.parametrize("make", [*WINDOWS, official])
def test_batches_of_one_sample(make):
    callback = official() if make is official else regulated(window=make)
    module = fit(Late(batches=make_batches(size=1)), callback)
    assert_finite(callback.history, module)
    assert all(entry["skipped"] == 0 for entry in callback.history)


@pytest.mark.parametrize("make", [*WINDOWS, official])
def test_batches_of_one_class(make):
    batches = make_batches()
    for label, batch in enumerate(batches):
        batch["label"] = torch.full_like(batch["label"], label % 3)
    callback = official() if make is official else regulated(window=make)
    module = fit(Late(batches=batches), callback)
    assert_finite(callback.history, module)


def test_a_problem_of_one_class_regulates_nobody():
    class OneClass(Late):
        def make_head(self, width):
            return nn.Linear(width, 1)

    batches = [b | {"label": torch.zeros_like(b["label"])} for b in make_batches()]
    callback = regulated(score=log_probability)  # the built-in scores are for two or more
    module = fit(OneClass(batches=batches), callback)
    assert_finite(callback.history)
    for entry in callback.history:
        assert set(entry["alpha"].values()) == set(entry["gap"].values()) == {0.0}
        assert set(entry["trace"].values()) == {0.0}
    for ours, theirs in zip(
        module.epoch_weights, fit(OneClass(batches=batches), None).epoch_weights, strict=True
    ):
        assert_same_weights(ours, theirs)


def test_modalities_that_tie_are_none_of_them_regulated():
    class Same(Late):
        def training_step(self, batch, batch_idx):
            logits = self(batch)
            report_unimodal(self, {"audio": logits, "video": logits}, batch["label"])
            return F.cross_entropy(logits, batch["label"])

    callback = InfoRegCallback(encoder_paths(), window="always")
    module = fit(Same(), callback)
    assert all(set(entry["alpha"].values()) == {0.0} for entry in callback.history)
    assert_same_weights(module.epoch_weights[-1], fit(Late(), None).epoch_weights[-1])


class Scaled(Late):
    """The gradient of the video encoder is multiplied by a factor."""

    factor = 0.0

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        for parameter in self.video_encoder.parameters():
            parameter.register_hook(lambda gradient: gradient * self.factor)


@pytest.mark.parametrize("window", WINDOWS)
def test_a_modality_whose_gradient_is_zero(window):
    callback = regulated(window=window, K=0.0)
    # The published window needs a gate with a trace; the zero one is no gate here.
    module = fit(Scaled(), callback)
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
    module = fit(Scaled(), callback)
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
        module.batches = in_float32(module.batches)
    callback = regulated(window=window)
    fit(module, callback)
    assert_finite(callback.history, module)
    smallest = torch.finfo(torch.float32 if single else torch.float64).tiny
    for entry in callback.history:
        assert entry["skipped"] == 0
        assert 0 <= entry["trace"]["video"] < 100 * smallest
        assert entry["change"]["video"] is None or entry["change"]["video"] <= 1


class Broken(Late):
    """Something that is not finite in some steps; what is broken heals before the optimiser."""

    bad_steps = (5,)  # the second of the second epoch
    in_what = "loss"
    value = math.nan

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{"momentum": 0.0, "weight_decay": 0.0} | kwargs)
        self.before, self.after, self.gradients = [], [], []

    @property
    def is_bad(self):
        return self.global_step in self.bad_steps

    def training_step(self, batch, batch_idx):
        self.before.append(snapshot(self))
        loss = super().training_step(batch, batch_idx)
        self.gradients.append(
            dict(
                zip(
                    dict(self.named_parameters()),
                    torch.autograd.grad(loss, [*self.parameters()], retain_graph=True),
                    strict=True,
                )
            )
        )
        return loss + self.value if self.is_bad and self.in_what == "loss" else loss

    def on_after_backward(self):
        if self.is_bad and self.in_what == "gradient":
            self.audio_encoder[0].weight.grad[0, 0] = self.value

    def on_before_optimizer_step(self, optimizer):  # comes after the callbacks' hook
        if self.is_bad and self.in_what == "gradient":
            index = len(self.gradients) - 1
            self.audio_encoder[0].weight.grad[0, 0] = self.gradients[index][
                "audio_encoder.0.weight"
            ][0, 0]

    def on_train_batch_end(self, *args):
        self.after.append(snapshot(self))


def fit_broken(callback, in_what="loss", value=math.nan, bad_steps=(5,), epochs=4):
    module = Broken()
    module.in_what, module.value, module.bad_steps = in_what, value, bad_steps
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(module, callback, epochs)
    return module, [str(w.message) for w in caught if "not finite" in str(w.message)]


@pytest.mark.parametrize("in_what", ["loss", "gradient"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("make", [regulated, official])
def test_a_step_that_is_not_finite_is_not_regulated_and_counts_nowhere(make, value, in_what):
    callback = make()
    module, said = fit_broken(callback, in_what, value)
    assert_finite(callback.history, module)
    assert [entry["skipped"] for entry in callback.history] == [0, 1, 0, 0]
    assert [entry["steps"] for entry in callback.history] == [4] * 4
    assert len(said) == 1
    assert "1 of 4 steps of period 1" in said[0]

    # That step is one of plain gradient descent; the ones around it are not.
    def pulled(step):
        return max(
            float((module.after[step][n] - (module.before[step][n] - 0.1 * gradient)).abs().max())
            for n, gradient in module.gradients[step].items()
        )

    assert pulled(5) < 1e-15
    assert pulled(6) > 1e-6
    # The trace is that of the other three steps.
    if make is regulated:
        steps = [
            sum(float((g**2).sum()) for n, g in module.gradients[s].items() if "audio" in n)
            for s in (4, 6, 7)
        ]
        assert callback.history[1]["trace"]["audio"] == pytest.approx(sum(steps) / 3, rel=1e-12)


def test_it_is_said_once_and_counted_always():
    callback = regulated()
    module, said = fit_broken(callback, bad_steps=(0, 5, 6, 13))
    assert_finite(callback.history, module)
    assert [entry["skipped"] for entry in callback.history] == [1, 2, 0, 1]
    assert len(said) == 1


@pytest.mark.parametrize("window", WINDOWS)
def test_a_period_without_any_finite_step_keeps_the_trace_of_the_one_before(window):
    callback = regulated(window=window)
    fit_broken(callback, bad_steps=(4, 5, 6, 7))
    before, empty, after = callback.history[:3]
    assert empty["skipped"] == empty["steps"] == 4
    assert empty["trace"] == before["trace"]
    assert empty["change"] == {"audio": 0.0, "video": 0.0}
    for quantity in ("score", "gap", "alpha", "pull", "penalty"):
        assert empty[quantity] == {"audio": None, "video": None}
    assert after["skipped"] == 0
    assert_finite([before, *callback.history[2:]])


def test_a_first_period_without_any_finite_step():
    callback = regulated(window="adaptive")
    fit_broken(callback, bad_steps=(0, 1, 2, 3))
    assert callback.history[0]["trace"] == {"audio": 0.0, "video": 0.0}
    assert_finite(callback.history[1:])


def test_weights_that_are_lost_leave_a_history_that_is_not():
    class Lost(Late):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * math.nan if self.global_step == 5 else loss

    callback = regulated()
    with pytest.warns(UserWarning, match="was not finite"):
        module = fit(Lost(), callback)
    assert all(p.isnan().all() for p in module.parameters())
    assert [entry["skipped"] for entry in callback.history] == [0, 3, 4, 4]
    assert_finite(callback.history[:2])
    for entry in callback.history:
        assert all(math.isfinite(value) for value in entry["trace"].values())


def test_a_score_that_is_not_finite_skips_the_step_even_if_the_loss_is():
    class Masked(Late):
        def training_step(self, batch, batch_idx):
            logits = self(batch)
            ruled_out = torch.full_like(logits, -torch.inf)
            report_unimodal(self, {"audio": logits, "video": ruled_out}, batch["label"])
            return F.cross_entropy(logits, batch["label"])

    callback = InfoRegCallback(encoder_paths(), window="always")
    with pytest.warns(UserWarning, match="4 of 4 steps"):
        module = fit(Masked(), callback)
    assert [entry["skipped"] for entry in callback.history] == [4] * 4
    assert_same_weights(module.epoch_weights[-1], fit(Late(), None).epoch_weights[-1])


def test_one_bad_micro_batch_spoils_its_step_only():
    class Bad(Broken):
        bad_steps = ()

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss + math.nan if self.trainer.current_epoch == 1 and batch_idx == 0 else loss

    callback = regulated()
    with pytest.warns(UserWarning, match="1 of 2 steps of period 1"):
        fit(Bad(), callback, accumulate_grad_batches=2)
    assert [entry["skipped"] for entry in callback.history] == [0, 1, 0, 0]
    assert_finite(callback.history)


def test_a_gradient_whose_square_overflows_is_not_finite_either():
    module = Scaled(lr=0.0)
    module.float()
    module.batches = in_float32(module.batches)
    module.factor = 1e30
    callback = regulated()
    with pytest.warns(UserWarning, match="4 of 4 steps"):
        fit(module, callback)
    assert [entry["skipped"] for entry in callback.history] == [4] * 4
    assert callback.history[-1]["trace"] == {"audio": 0.0, "video": 0.0}
