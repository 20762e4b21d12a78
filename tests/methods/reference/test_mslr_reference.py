"""MSLR through a Trainer against parameter groups with rates of their own."""

import pytest
import torch

from helpers.modules import Late, assert_same_weights, make_batches
from helpers.plain import (
    NETS,
    SETTINGS,
    assert_same_training,
    construct,
    encoder_parameters,
    make_plain,
    plain_loop,
    train,
)
from helpers.regulated import fit
from inforeg_lightning.callbacks import MSLRCallback
from inforeg_lightning.methods import DynamicRates, KeepRates, SmoothRates

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


@NETS
def test_sgd_with_momentum_and_decay(modalities, kind):
    plain = make_plain(modalities, kind)
    make, edit_of = by_groups(torch.optim.SGD, **SETTINGS)
    expected = plain_loop(plain, edit_of(plain, SETTINGS["lr"]), optimizer=make)
    callback = construct(MSLRCallback, modalities, rates=[*RATES.values()][:modalities])
    assert_same_training(callback, train(callback, modalities, kind), expected)


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
        ({"audio": -1.0}, r"`rates\['audio'\]` must be from 0 to"),
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


class Host:
    """What a strategy looks at of a Trainer."""

    def __init__(self, **metrics):
        self.callback_metrics = {f"val/accuracy_{m}": torch.tensor(v) for m, v in metrics.items()}


def test_keep_and_smooth_turn_learning_rates_into_factors():
    own = {"audio": 0.001, "video": 0.04}
    assert KeepRates(own, lr=0.01)(None) == pytest.approx({"audio": 0.1, "video": 4.0})
    assert SmoothRates(own, lr=0.01)(None) == pytest.approx({"audio": 0.55, "video": 2.5})
    assert SmoothRates(own, lr=0.01, weight=1)(None) == pytest.approx(KeepRates(own, 0.01)(None))


def test_dynamic_follows_the_accuracy_over_the_mean_of_those_before():
    rates = DynamicRates({"audio": 0.9, "video": 1.1}, memory=2)
    accuracies = [(0.2, 0.1), (0.4, 0.1), (0.6, 0.1), (0.1, 0.2)]
    assert rates(Host()) == {"audio": 0.9, "video": 1.1}  # before the first validation
    found = [rates(Host(audio=a, video=v)) for a, v in accuracies]
    assert found[:2] == [{"audio": 0.9, "video": 1.1}] * 2
    assert found[2] == pytest.approx({"audio": 0.9 * 0.6 / 0.3, "video": 1.1})
    assert found[3] == pytest.approx({"audio": 0.9 * 0.1 / 0.5, "video": 1.1 * 0.2 / 0.1})
    again = DynamicRates({"audio": 0.9, "video": 1.1}, memory=2)
    again.load_state_dict(rates.state_dict())
    assert again(Host(audio=0.3, video=0.3)) == rates(Host(audio=0.3, video=0.3))
    with pytest.raises(ValueError, match=r"no metric 'val/accuracy_audio' .* only \[\]"):
        rates(Host())


def test_a_strategy_with_a_state_is_saved_resumed_and_begun_afresh():
    strategy = DynamicRates({"audio": 0.5}, metric="train/{modality}", memory=1)
    callback = construct(MSLRCallback, 2, window="always", rates=strategy)

    class Logs(Late):
        def training_step(self, batch, batch_idx):
            self.log("train/audio", float(self.current_epoch + 1), on_epoch=True)
            return super().training_step(batch, batch_idx)

    def run():
        return fit(Logs(2, make_batches(2), **SETTINGS), callback, max_epochs=4)

    first = run()
    assert [e["rate"]["audio"] for e in first["history"]] == pytest.approx([0.5, 0.5, 1.0, 0.75])
    state = callback.state_dict()
    resumed = MSLRCallback(
        callback.encoders, rates=DynamicRates({"audio": 0.5}, "train/{modality}", 1)
    )
    resumed.load_state_dict(state)
    assert resumed.method._strategy == {"seen": {"audio": [3.0]}, "asked": True}
    assert_same_weights(run()["weights"][-1], first["weights"][-1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KeepRates({"audio": 0.1}, lr=0), "`lr` must be above 0"),
        (lambda: KeepRates([0.1], lr=1), "`rates` must map each modality to a number"),
        (lambda: SmoothRates({"audio": 0.1}, 1, weight=2), "`weight` must be from 0 to 1"),
        (lambda: DynamicRates({"audio": -1}), r"`initial\['audio'\]` must be from 0"),
        (lambda: DynamicRates({"audio": 1}, memory=0), "`memory` must be a whole number"),
        (lambda: DynamicRates({"audio": 1}, metric="acc"), "`metric` must have {modality}"),
    ],
)
def test_a_strategy_that_makes_no_sense(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
