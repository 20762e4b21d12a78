"""Steps with a loss, score or gradient that is not finite; see ``docs/numbers.md``."""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F

from helpers.modules import Late, assert_same_weights, encoder_paths, snapshot
from helpers.numerics import WINDOWS, assert_finite
from helpers.regulated import always, fit, official
from inforeg_lightning import InfoRegCallback, report_unimodal


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
        fit(module, callback, max_epochs=epochs)
    return module, [str(w.message) for w in caught if "not finite" in str(w.message)]


@pytest.mark.parametrize("in_what", ["loss", "gradient"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("make", [always, official])
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
    if make is always:
        steps = [
            sum(float((g**2).sum()) for n, g in module.gradients[s].items() if "audio" in n)
            for s in (4, 6, 7)
        ]
        assert callback.history[1]["trace"]["audio"] == pytest.approx(sum(steps) / 3, rel=1e-12)


def test_it_is_said_once_and_counted_always():
    callback = always()
    module, said = fit_broken(callback, bad_steps=(0, 5, 6, 13))
    assert_finite(callback.history, module)
    assert [entry["skipped"] for entry in callback.history] == [1, 2, 0, 1]
    assert len(said) == 1


@pytest.mark.parametrize("window", WINDOWS)
def test_a_period_without_any_finite_step_keeps_the_trace_of_the_one_before(window):
    callback = always(window=window)
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
    callback = always(window="adaptive")
    fit_broken(callback, bad_steps=(0, 1, 2, 3))
    assert callback.history[0]["trace"] == {"audio": 0.0, "video": 0.0}
    assert_finite(callback.history[1:])


def test_weights_that_are_lost_leave_a_history_that_is_not():
    class Lost(Late):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * math.nan if self.global_step == 5 else loss

    callback = always()
    with pytest.warns(UserWarning, match="was not finite"):
        module = fit(Lost(), callback, max_epochs=4)["module"]
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
        module = fit(Masked(), callback, max_epochs=4)["module"]
    assert [entry["skipped"] for entry in callback.history] == [4] * 4
    assert_same_weights(module.epoch_weights[-1], fit(Late(), None, max_epochs=4)["weights"][-1])


def test_one_bad_micro_batch_spoils_its_step_only():
    class Bad(Broken):
        bad_steps = ()

        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss + math.nan if self.trainer.current_epoch == 1 and batch_idx == 0 else loss

    callback = always()
    with pytest.warns(UserWarning, match="1 of 2 steps of period 1"):
        fit(Bad(), callback, accumulate_grad_batches=2, max_epochs=4)
    assert [entry["skipped"] for entry in callback.history] == [0, 1, 0, 0]
    assert_finite(callback.history)
