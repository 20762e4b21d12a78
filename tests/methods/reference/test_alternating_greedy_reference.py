"""AlternatingGreedy through a Trainer against its conditional learning speed, written out."""

import math

import pytest
import torch

from helpers.modules import Late
from helpers.plain import (
    Normed,
    assert_same_training,
    construct,
    encoder_parameters,
    make_plain,
    plain_loop,
    train,
)
from inforeg_lightning.callbacks import AlternatingGreedyCallback as Callback


class Speeds:
    """Decides with numbers on the host what the callback decides with tensors."""

    def __init__(self, module, tolerance, steps):
        self.module, self.tolerance, self.steps = module, tolerance, steps
        self.fusion = dict.fromkeys(module.names, 0.0)
        self.encoder = dict.fromkeys(module.names, 0.0)
        self.seen = {name: [] for name in module.names}
        self.alone, self.left = None, 0
        self.trained_alone = []

    def forward(self, step, features, is_open):
        self.trained_alone.append(self.alone if is_open.get(self.alone) else None)
        given = dict(features)
        if self.trained_alone[-1] is not None:
            for name in given:
                if name != self.alone:
                    mean = torch.cat(self.seen[name]).mean(0)
                    given[name] = mean.expand_as(given[name])
        for name, z in features.items():
            self.seen[name].append(z.detach())
        return self.module.head(torch.cat([*given.values()], 1))

    def edit(self, step, features, label, is_open, optimizer):
        if self.left > 0:
            self.left -= 1
            if self.left == 0:
                self.alone = None
            return
        start = 0
        for name, z in features.items():
            columns = slice(start, start + z.shape[1])
            start += z.shape[1]
            w, g = (
                self.module.head.weight.detach()[:, columns],
                self.module.head.weight.grad[:, columns],
            )
            self.fusion[name] += float((g**2).sum() / (w**2).sum())
            parameters = encoder_parameters(self.module, name)
            self.encoder[name] += float(
                sum((p.grad**2).sum() for p in parameters)
                / sum((p.detach() ** 2).sum() for p in parameters)
            )
        speed = {n: math.log10(self.fusion[n]) - math.log10(self.encoder[n]) for n in self.fusion}
        slowest = max(speed, key=speed.get)
        if speed[slowest] - min(speed.values()) > self.tolerance and is_open[slowest]:
            self.alone, self.left = slowest, self.steps


def from_the_second_epoch(traces):
    return {name: len(trace) in (1, 2, 3) for name, trace in traces.items()}


@pytest.mark.parametrize(("modalities", "kind"), [(2, Late), (3, Normed)])
def test_every_weight_is_that_of_the_formula(modalities, kind):
    plain = make_plain(modalities, kind)
    speeds = Speeds(plain, tolerance=0.05, steps=3)
    expected = plain_loop(plain, speeds.edit, from_the_second_epoch, speeds.forward)
    alone = [name is not None for name in speeds.trained_alone]
    assert any(alone[4:16]), "some steps must train one alone"
    assert not all(alone[4:16]), "and some must not"
    callback = construct(Callback, modalities, window=(1, 4), tolerance=0.05, steps=3)
    assert_same_training(callback, train(callback, modalities, kind), expected)
    for epoch, entry in enumerate(callback.history):
        names = speeds.trained_alone[4 * epoch : 4 * epoch + 4]
        shares = {name: names.count(name) / 4 for name in plain.names}
        if entry["in_window"]["audio"]:
            assert entry["alone"] == pytest.approx(shares)


def test_a_modality_outside_its_window_is_not_trained_alone():
    callback = construct(
        Callback,
        2,
        window=lambda traces: {"audio": True, "video": False},
        tolerance=0.0,
    )
    train(callback, 2)
    assert [entry["alone"]["video"] for entry in callback.history] == [0.0] * 6


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tolerance": -1.0}, "`tolerance` must be from 0"),
        ({"steps": 0}, "`steps` must be a whole number of optimiser steps"),
    ],
)
def test_arguments_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        construct(Callback, 2, **settings)
