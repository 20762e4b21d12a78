"""Logits, features and batches at their extremes, and losses that are not finite."""

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.methods import every_method
from helpers.modules import CLASSES, Late, make_batches, snapshot
from helpers.precision import in_single
from helpers.regulated import fit

EPOCHS = 2


def assert_finite(method, module, history):
    assert all(p.isfinite().all() for p in module.parameters())
    assert [entry["skipped"] for entry in history] == [0] * EPOCHS
    for entry in history:
        for quantity in method.quantities:
            for modality, value in entry[quantity].items():
                # None: a quantity that this optimiser or this data does not have
                assert value is None or math.isfinite(value), (quantity, modality)


class Edged(Late):
    """Three modalities in single precision, with a head and features of one's making."""

    def __init__(self, edge, lr=0.1):
        super().__init__(3, lr=lr)
        self.float()
        self.batches = in_single(make_batches(3))
        with torch.no_grad():
            edge(self)


def huge(module):
    scale = 1e4 / module(module.batches[0]).abs().max()
    module.head.weight.mul_(scale)
    module.head.bias.mul_(scale)


def huge_of_one(module):
    module.head.weight[:, :5].mul_(1e4)


def all_equal(module):
    module.head.weight.zero_()
    module.head.bias.zero_()


def zero_features(module):
    for name in module.names:
        last = getattr(module, f"{name}_encoder")[2]
        last.weight.zero_()
        last.bias.zero_()


def zero_features_of_one(module):
    module.video_encoder[2].weight.zero_()
    module.video_encoder[2].bias.zero_()


@every_method
@pytest.mark.parametrize(
    ("edge", "precision"),
    [
        (huge, "32-true"),
        (huge, "bf16-mixed"),
        (huge_of_one, "32-true"),
        (all_equal, "32-true"),
        (zero_features, "32-true"),
        (zero_features_of_one, "bf16-mixed"),
    ],
)
def test_extreme_logits_and_features(method, edge, precision):
    module = Edged(edge, lr=1e-9 if "huge" in edge.__name__ else 0.1)
    result = fit(module, method(3), max_epochs=EPOCHS, precision=precision)
    assert_finite(method, module, result["history"])


@every_method
@pytest.mark.filterwarnings("ignore:.*fewer samples with .* than there are classes")
def test_batches_of_one_sample(method):
    module = Late(batches=make_batches(size=1))
    assert_finite(method, module, fit(module, method(), max_epochs=EPOCHS)["history"])


@every_method
def test_batches_of_one_class(method):
    batches = make_batches()
    for label, batch in enumerate(batches):
        batch["label"] = torch.full_like(batch["label"], label % CLASSES)
    module = Late(batches=batches)
    assert_finite(method, module, fit(module, method(), max_epochs=EPOCHS)["history"])


@every_method
def test_labels_to_be_ignored(method):
    batches = make_batches()
    for batch in batches:
        batch["label"][::3] = -100
    module = Late(batches=batches)
    assert_finite(method, module, fit(module, method(), max_epochs=EPOCHS)["history"])


class Broken(Late):
    """In the second step of the second epoch the loss, or one gradient, is not finite.

    The gradient heals before the optimiser steps, so that the weights go on.
    """

    in_what, value = "loss", math.nan

    def __init__(self):
        super().__init__(momentum=0.0, weight_decay=0.0)
        self.steps = []

    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        # Not through `self.head`, so that no hook of ours sees it.
        features = torch.cat([*self.features(batch).values()], 1)
        plain = F.cross_entropy(
            F.linear(features, self.head.weight, self.head.bias), batch["label"]
        )
        weights = {n: p for n, p in self.named_parameters() if n in self.state_dict()}
        gradients = torch.autograd.grad(plain, [*weights.values()])
        self.expected = {
            name: p.detach() - self.sgd["lr"] * gradient
            for (name, p), gradient in zip(weights.items(), gradients, strict=True)
        }
        self.is_bad = self.current_epoch == 1 and batch_idx == 1
        return loss + self.value if self.is_bad and self.in_what == "loss" else loss

    def on_after_backward(self):
        if self.is_bad and self.in_what == "gradient":
            gradient = self.audio_encoder[0].weight.grad
            self.healthy = gradient[0, 0].clone()
            gradient[0, 0] = self.value

    def on_before_optimizer_step(self, optimizer):  # comes after the callbacks' hook
        if self.is_bad and self.in_what == "gradient":
            self.audio_encoder[0].weight.grad[0, 0] = self.healthy

    def on_train_batch_end(self, outputs, batch, batch_idx):
        after = snapshot(self)
        self.steps.append(max(float((after[n] - p).abs().max()) for n, p in self.expected.items()))


@every_method
@pytest.mark.parametrize("in_what", ["loss", "gradient"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.filterwarnings("ignore:.*1 of 4 steps of period 1 had a loss, score or gradient")
def test_a_step_that_is_not_finite_is_left_alone_and_counted(method, value, in_what):
    module = Broken()
    module.value, module.in_what = value, in_what
    history = fit(module, method(), max_epochs=EPOCHS)["history"]
    assert [entry["skipped"] for entry in history] == [0, 1]
    acts_before = method.acts_before_the_loss or (
        in_what == "gradient" and method.acts_in_the_backward_pass
    )
    if not acts_before:
        assert module.steps[5] < 1e-12, "it must be a step of joint training"
    assert method.acts_between_epochs or max(module.steps[6:]) > 1e-9, "those after it must not be"
    assert all(p.isfinite().all() for p in module.parameters())
    for entry in history:
        for quantity in method.quantities:
            for modality, number in entry[quantity].items():
                assert number is None or math.isfinite(number), (quantity, modality)
