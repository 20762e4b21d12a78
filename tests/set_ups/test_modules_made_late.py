"""Encoders and heads that are made or replaced by a hook of the module, before or in training."""

import copy

import pytest
import torch
from torch import nn

from helpers.modules import Late, assert_same_weights, snapshot
from helpers.set_ups import always, fit

HOOKS = ["setup", "configure_model", "on_fit_start", "on_train_start", "on_train_epoch_start"]


class MadeLate(Late):
    """Takes its encoders and its head away, and has a hook put them back."""

    def __init__(self, hook: str, **settings) -> None:
        super().__init__(**settings)
        names = ("audio_encoder", "video_encoder", "head")
        self.waiting = [{name: self._modules.pop(name) for name in names}]
        self.hook = hook

    def make(self, hook: str) -> None:
        if hook != self.hook or not self.waiting:
            return
        for name, module in self.waiting.pop().items():
            setattr(self, name, module)
        if hook not in ("setup", "configure_model"):
            (group,) = self.trainer.optimizers[0].param_groups
            group["params"] = [*self.parameters()]

    def configure_optimizers(self):
        return torch.optim.SGD([*self.parameters()] or [nn.Parameter(torch.zeros(1))], **self.sgd)

    def setup(self, stage):
        self.make("setup")

    def configure_model(self):
        self.make("configure_model")

    def on_fit_start(self):
        self.make("on_fit_start")

    def on_train_start(self):
        self.make("on_train_start")

    def on_train_epoch_start(self):
        self.make("on_train_epoch_start")


@pytest.mark.parametrize("period", ["epoch", 3])
@pytest.mark.parametrize("hook", HOOKS[:4])
def test_made_by_a_hook_they_are_regulated_as_if_made_at_once(hook, period):
    ours, theirs = always(period=period), always(period=period)
    module, plain = MadeLate(hook), Late()
    fit(module, ours), fit(plain, theirs)
    assert ours.history == theirs.history
    assert_same_weights(snapshot(module), snapshot(plain))


class Replacing(Late):
    """Replaces what it was made with, by modules that begin otherwise."""

    def __init__(self, hook: str, at_epoch: int = 0) -> None:
        super().__init__()
        other = Late(seed=1)
        self.others = [{name: getattr(other, name) for name in ("audio_encoder", "head")}]
        self.hook, self.at_epoch = hook, at_epoch

    def replace(self, hook: str) -> None:
        if hook == self.hook and self.others and self.current_epoch == self.at_epoch:
            for name, module in self.others.pop().items():
                setattr(self, name, module)
            if self.trainer.optimizers:
                (group,) = self.trainer.optimizers[0].param_groups
                group["params"] = [*self.parameters()]

    def setup(self, stage):
        self.replace("setup")

    def configure_model(self):
        self.replace("configure_model")

    def on_fit_start(self):
        self.replace("on_fit_start")

    def on_train_start(self):
        self.replace("on_train_start")

    def on_train_epoch_start(self):
        self.replace("on_train_epoch_start")

    def on_train_epoch_end(self):
        super().on_train_epoch_end()
        self.replace("on_train_epoch_end")


@pytest.mark.parametrize("hook", HOOKS)
def test_replaced_before_training_the_new_ones_are_regulated(hook):
    ours, theirs = always(), always()
    module, plain, other = Replacing(hook), Late(), Late(seed=1)
    plain.audio_encoder, plain.head = other.audio_encoder, other.head
    # Weight decay reaches the parameters in the order of the optimiser.
    fit(module, ours), fit(plain, theirs)
    assert ours.history == theirs.history
    assert_same_weights(snapshot(module), snapshot(plain))


@pytest.mark.parametrize("period", ["epoch", 3])
@pytest.mark.parametrize("hook", ["on_train_epoch_start", "on_train_epoch_end"])
def test_replaced_between_epochs_the_new_ones_are_regulated_from_there(hook, period):
    """An anchor of the encoder before it would throw the new one far away."""
    callback = always(period=period)
    at = 0 if hook == "on_train_epoch_end" else 1
    module = Replacing(hook, at)
    start = copy.deepcopy(module.others[0]["audio_encoder"])
    fit(module, callback, max_epochs=2)
    assert callback.engine.modules == {}, "let go of"
    last = callback.history[-1]
    assert last["alpha"]["audio"] > 0
    assert last["trace"]["audio"] > 0
    moved = [
        float((new - old).detach().norm())
        for new, old in zip(module.audio_encoder.parameters(), start.parameters(), strict=True)
    ]
    assert 0 < max(moved) < 1, "the pull is towards its own start"


@pytest.mark.parametrize("hook", ["setup", "configure_model"])
def test_a_resumed_run_makes_them_again(tmp_path, hook):
    whole, first, second = always(), always(), always()
    module = MadeLate(hook)
    fit(module, whole, max_epochs=4)
    trainer = fit(MadeLate(hook), first, max_epochs=2)
    trainer.save_checkpoint(tmp_path / "two.ckpt")
    resumed = MadeLate(hook)
    fit(resumed, second, max_epochs=4, ckpt_path=tmp_path / "two.ckpt")
    assert second.history == whole.history
    assert_same_weights(snapshot(resumed), snapshot(module))


class Widths(Late):
    """Learns its widths from the data, in ``setup``."""

    def __init__(self) -> None:
        super().__init__()
        del self.audio_encoder, self.head

    def setup(self, stage):
        with torch.random.fork_rng():
            torch.manual_seed(3)
            self.audio_encoder = nn.Linear(self.batches[0]["audio"].shape[1], 2).double()
            self.head = nn.Linear(2 + 4, 3).double()


def test_widths_that_are_known_from_the_data():
    callback = always()
    fit(Widths(), callback)
    assert callback.history[1]["alpha"]["audio"] > 0


def test_a_path_that_leads_nowhere_is_refused_before_the_first_step():
    class Counting(Late):
        steps = 0

        def on_train_start(self):
            """A hook that could still make it."""

        def training_step(self, batch, batch_idx):
            Counting.steps += 1
            return super().training_step(batch, batch_idx)

    with pytest.raises(ValueError, match=r"`head` is 'haed', but Counting has no such attribute"):
        fit(Counting(), always(head="haed"))
    assert Counting.steps == 0
