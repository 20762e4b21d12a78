"""MSLR through a Trainer against parameter groups with rates of their own."""

import pytest
import torch

from helpers.modules import assert_same_weights
from helpers.plain import (
    SETTINGS,
    assert_same_training,
    construct,
    encoder_parameters,
    make_plain,
    plain_loop,
    train,
)
from inforeg_lightning.callbacks import MSLRCallback

RATES = {"audio": 0.25, "video": 2.0, "text": 0.0}


class WithAdam:
    """Of the module: a rule whose step is not proportional to the gradient."""

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=0.01, weight_decay=0.1)


def by_groups(kind, **defaults):
    """Each encoder in a group of its own, whose rate the window sets before each step."""

    def make(module):
        groups = [{"params": encoder_parameters(module, name)} for name in module.names]
        return kind([*groups, {"params": [*module.head.parameters()]}], **defaults)

    def edit_of(module, lr):
        def edit(step, features, label, is_open, optimizer):
            for group, name in zip(optimizer.param_groups, module.names, strict=False):
                group["lr"] = lr * (RATES[name] if is_open[name] else 1.0)

        return edit

    return make, edit_of


@pytest.mark.parametrize("modalities", [2, 3])
def test_sgd_with_momentum_and_decay(modalities):
    plain = make_plain(modalities)
    make, edit_of = by_groups(torch.optim.SGD, **SETTINGS)
    expected = plain_loop(plain, edit_of(plain, SETTINGS["lr"]), optimizer=make)
    callback = construct(MSLRCallback, modalities, rates=[*RATES.values()][:modalities])
    assert_same_training(callback, train(callback, modalities), expected)


def test_adamw(monkeypatch):
    plain = make_plain(2)
    make, edit_of = by_groups(torch.optim.AdamW, lr=0.01, weight_decay=0.1)
    expected = plain_loop(plain, edit_of(plain, 0.01), optimizer=make)
    monkeypatch.setattr("helpers.plain.Late.configure_optimizers", WithAdam.configure_optimizers)
    callback = construct(MSLRCallback, 2, rates={"audio": 0.25, "video": 2.0})
    assert_same_training(callback, train(callback, 2), expected)


def test_a_callable_is_asked_once_a_period():
    asked = []

    def rates(trainer):
        asked.append(trainer.current_epoch)
        return {"video": 0.5 if trainer.current_epoch < 3 else 1.0}

    callback = construct(MSLRCallback, 2, window="always", rates=rates)
    train(callback, 2)
    assert asked == [0, 1, 2, 3, 4, 5]
    assert [entry["rate"]["video"] for entry in callback.history] == [0.5] * 3 + [1.0] * 3
    assert {entry["rate"]["audio"] for entry in callback.history} == {1.0}


def test_neither_head_nor_report_is_needed():
    with_head = construct(MSLRCallback, 2, window="always", rates=[0.5, 1.0])
    without = construct(MSLRCallback, 2, window="always", rates=[0.5, 1.0])
    without = MSLRCallback(without.encoders, window="always", rates=[0.5, 1.0])
    a, b = train(with_head, 2), train(without, 2)
    assert_same_weights(a.epoch_weights[-1], b.epoch_weights[-1])
    assert without.history[-1]["score"] == {"audio": None, "video": None}
    assert without.history[-1]["skipped"] == 0


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        (None, "`rates` must give a factor"),
        ([1.0], "`rates` must give a factor"),
        ({"smell": 1.0}, "`rates` names 'smell'"),
        ({"audio": -1.0}, r"`rates\['audio'\]` must be a number >= 0"),
    ],
)
def test_rates_that_make_no_sense(rates, message):
    with pytest.raises(ValueError, match=message):
        construct(MSLRCallback, 2, rates=rates)


def test_lbfgs_is_refused(monkeypatch):
    monkeypatch.setattr(
        "helpers.plain.Late.configure_optimizers", lambda self: torch.optim.LBFGS(self.parameters())
    )
    with pytest.raises(ValueError, match="cannot scale the steps of LBFGS"):
        train(construct(MSLRCallback, 2, rates=[0.5, 1.0]), 2)
