"""Heads of other kinds, reported logits, frozen parts, optimising by hand, compiled modules."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.comparison import assert_close_weights
from helpers.manual import Manual, OneForEach
from helpers.methods import every_method, those
from helpers.modules import CLASSES, Late, assert_same_weights, snapshot
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


class PartlyFrozen(Late):
    def __init__(self):
        super().__init__()
        self.audio_encoder[0].requires_grad_(False)


@every_method
def test_frozen_parts_stay_and_the_others_train(method):
    module = PartlyFrozen()
    start = snapshot(module)
    result = trained(module, method())
    after = result["weights"][-1]
    for name in start:
        assert torch.equal(after[name], start[name]) == name.startswith("audio_encoder.0"), name
    assert [entry["skipped"] for entry in result["history"]] == [0] * EPOCHS


@every_method
def test_an_encoder_without_anything_to_train_is_measured_and_left_alone(method):
    module = Late()
    module.audio_encoder.requires_grad_(False)
    start = snapshot(module)
    result = trained(module, method())
    for name, weight in result["weights"][-1].items():
        assert torch.equal(weight, start[name]) == name.startswith("audio_encoder"), name
    for entry in result["history"]:
        assert entry["trace"]["audio"] == 0.0 < entry["trace"]["video"]
        assert all(math.isfinite(value) for value in entry["score"].values())
        assert entry["skipped"] == 0


@every_method
def test_encoders_of_which_none_has_anything_to_train_are_refused(method):
    module = Late()
    for encoder in (module.audio_encoder, module.video_encoder):
        encoder.requires_grad_(False)
    with pytest.raises(ValueError, match=r"no encoder of .* has a trainable parameter"):
        trained(module, method())


class UnfreezesItself(Late):
    """All is in the optimiser from the start; the module itself thaws it."""

    def on_train_start(self):
        self.audio_encoder.requires_grad_(False)

    def on_train_epoch_start(self):
        self.audio_encoder.requires_grad_(self.current_epoch > 0)


@every_method
def test_an_encoder_that_is_frozen_for_a_while(method):
    module = UnfreezesItself()
    start = snapshot(module)
    result = trained(module, method())
    assert torch.equal(
        result["weights"][0]["audio_encoder.0.weight"], start["audio_encoder.0.weight"]
    )
    traces = [entry["trace"]["audio"] for entry in result["history"]]
    assert traces[0] == 0.0 < min(traces[1:])


@every_method
def test_by_hand_is_as_by_lightning(method):
    ours, theirs = trained(Manual(), method()), trained(Late(), method())
    for mine, reference in zip(ours["weights"], theirs["weights"], strict=True):
        assert_same_weights(mine, reference)
    assert ours["history"] == theirs["history"]


@those(lambda method: method.one_optimizer)
def test_several_optimisers_are_refused_where_they_cannot_be(method):
    with pytest.raises(ValueError, match=f"3 optimisers, but {method.of.__name__}"):
        trained(OneForEach(), method())


@those(lambda method: not method.one_optimizer)
def test_an_optimiser_for_each_module(method):
    ours, theirs = trained(OneForEach(), method()), trained(Late(), method())
    if method.draws:  # seeded by Lightning's global step, which counts every optimiser's
        assert all(p.isfinite().all() for p in ours["weights"][-1].values())
        assert [entry["skipped"] for entry in ours["history"]] == [0] * EPOCHS
    else:
        assert_close_weights(ours["weights"], theirs["weights"], atol=1e-10)


@those(lambda method: method.needs_head)  # what all share is tested for InfoReg
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_compiled_module_trains_as_it_does_without(method):
    torch._dynamo.reset()
    module = Late()
    ours = trained(module, method(), compiled=torch.compile(module, backend="eager"))
    weights = [{n.replace("_orig_mod.", ""): p for n, p in e.items()} for e in ours["weights"]]
    assert_close_weights(weights, trained(Late(), method())["weights"], atol=1e-10)
    torch._dynamo.reset()
