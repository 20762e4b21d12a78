"""Heads that are not linear, logits that the module reports, and methods that edit the head."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.comparison import assert_close_weights
from helpers.methods import every_method, those
from helpers.modules import CLASSES, Late, assert_same_weights
from helpers.regulated import fit
from inforeg_lightning import report_unimodal
from inforeg_lightning.core.scores import linear_unimodal_logits

EPOCHS = 2


def trained(module, callback, **settings):
    return fit(module, callback, max_epochs=EPOCHS, **settings)


class Perceptron(Late):
    def make_head(self, width):
        return nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, CLASSES))


class StretchesInTraining(Late):
    """Differs by mode without drawing random numbers."""

    class Stretch(nn.Module):
        def forward(self, x):
            return 1.5 * x if self.training else x

    def make_head(self, width):
        return nn.Sequential(nn.Linear(width, 6), nn.Tanh(), self.Stretch(), nn.Linear(6, CLASSES))


class Gated(Late):
    """A head of two inputs, one by name, with dropout and batch norm."""

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(5)
            self.audio, self.video = nn.Linear(5, CLASSES), nn.Linear(4, CLASSES)
            self.drop = nn.Dropout(0.5)

        def forward(self, audio, *, video):
            return self.drop(self.audio(self.norm(audio))) * self.video(video).sigmoid()

    def make_head(self, width):
        return self.Head()

    def forward(self, batch):
        features = self.features(batch)
        return self.head(features["audio"], video=features["video"])


@every_method
@pytest.mark.parametrize("make", [Perceptron, StretchesInTraining, Gated])
def test_heads_that_are_not_linear(method, make):
    runs = {}
    for window in ("always", "never", None):
        torch.manual_seed(0)
        callback = None if window is None else method(window=window)
        runs[window] = trained(make(), callback)
    assert_same_weights(runs["never"]["weights"][-1], runs[None]["weights"][-1])
    with pytest.raises(AssertionError):
        assert_close_weights(runs["always"]["weights"], runs[None]["weights"], atol=1e-5)
    for entry in runs["always"]["history"]:
        assert entry["skipped"] == 0
        assert all(math.isfinite(value) for value in entry["score"].values())
    assert all(p.isfinite().all() for p in runs["always"]["weights"][-1].values())


@every_method
def test_running_statistics_of_a_head_are_those_of_joint_training(method):
    buffers = []
    for callback in (None, method(window="never")):
        torch.manual_seed(0)
        module = Gated()
        trained(module, callback)
        buffers.append(module.head.norm)
    assert torch.equal(buffers[0].running_mean, buffers[1].running_mean)
    assert buffers[0].num_batches_tracked == buffers[1].num_batches_tracked


class Reporting(Late):
    """Reports unimodal logits; its head cannot be split from outside."""

    def training_step(self, batch, batch_idx):
        features = self.features(batch)
        logits = linear_unimodal_logits(self.head.weight, self.head.bias, features)
        report_unimodal(self, logits, batch["label"])
        return F.cross_entropy(sum(logits.values()), batch["label"])


@those(lambda method: not method.needs_head)
def test_reported_logits_train_as_found_ones_do(method):
    found, reported = trained(Late(), method()), trained(Reporting(), method(head=None))
    assert_close_weights(reported["weights"], found["weights"], atol=1e-9)


@those(lambda method: method.needs_head)
def test_without_a_head_to_edit_it_is_refused(method):
    with pytest.raises(ValueError, match=f"{method.of.__name__} needs `head`, the attribute path"):
        method(head=None)
