"""What is particular to RedReg: noisy passes that change nothing else, and the gate's needs."""

import copy

import pytest
import torch
from torch import nn

from helpers.modules import Late, assert_same_weights, encoder_paths, snapshot
from helpers.regulated import fit
from helpers.resuming import Inside, Resumable
from inforeg_lightning.callbacks import RedRegCallback


class Normed(Late):
    """Its encoders draw and keep running statistics."""

    def make_encoder(self, inputs, width):
        return nn.Sequential(nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 4))

    def make_head(self, width):
        return super().make_head(8)


def redreg(**settings):
    return RedRegCallback(encoder_paths(), head="head", **settings)


def trained(callback, epochs=2):
    torch.manual_seed(0)
    return fit(Normed(), callback, max_epochs=epochs)["module"]


def test_noisy_passes_change_nothing_but_what_is_decided():
    """Where the monitor never opens: weights, running statistics, and what is drawn."""
    shut = {"threshold": 1e9}
    with_noise, without = trained(redreg(**shut)), trained(redreg(noise=0, **shut))
    ours, theirs = with_noise.state_dict(), without.state_dict()
    assert_same_weights(ours, theirs)
    opened = trained(redreg(agreement=None))
    with pytest.raises(AssertionError):
        assert_same_weights(snapshot(opened), snapshot(without))


def test_the_history_has_redundancy_and_agreement():
    callback = redreg()
    trained(callback)
    assert min(callback.history[1]["excess"].values()) > 0.15
    agreement = callback.history[1]["agreement"]
    assert agreement["audio"] == pytest.approx(agreement["video"])
    assert -1 < agreement["audio"] < 1
    without = redreg(agreement=None)
    trained(without)
    assert without.history[1]["agreement"] == {"audio": None, "video": None}


# Lightning's, when the Trainer that goes on has no ModelCheckpoint, and torchdata 0.11's.
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
def test_a_resumed_run_draws_the_same_noise(tmp_path):
    class Quiet(Resumable):
        def make_encoder(self, inputs, width):
            return super().make_encoder(inputs, 4)

        def make_head(self, width):
            return super().make_head(8)

    # Thresholds that noise decides about.
    settings = {"threshold": 2.0, "agreement": (-1.0, 0.1)}
    whole = redreg(**settings)
    torch.manual_seed(0)
    expected = fit(
        Quiet(), whole, Inside(tmp_path, every=4), enable_checkpointing=True, max_epochs=3
    )["module"]
    for step in (4, 8):
        callback = redreg(**settings)
        torch.manual_seed(step)
        module = fit(Quiet(), callback, ckpt_path=tmp_path / f"step={step}.ckpt", max_epochs=3)
        assert callback.history == whole.history, step
        assert_same_weights(snapshot(module["module"]), snapshot(expected))


def test_no_hook_is_left_behind_or_copied():
    class Copying(Normed):
        def training_step(self, batch, batch_idx):
            self.copied = copy.deepcopy(self.audio_encoder)
            return super().training_step(batch, batch_idx)

    module = Copying()
    fit(module, redreg(), max_epochs=1)
    encoders = (module.audio_encoder, module.video_encoder)
    assert not any(part._forward_pre_hooks for part in encoders)
    module.copied(torch.randn(3, 6, dtype=torch.float64))


class Indexed(Normed):
    """Its audio is a token."""

    def make_encoder(self, inputs, width):
        if inputs == 6:
            return nn.Sequential(nn.Embedding(3, 4), nn.Linear(4, 4))
        return super().make_encoder(inputs, width)

    def features(self, batch):
        return super().features(batch | {"audio": batch["label"]})


def test_inputs_that_cannot_be_perturbed():
    with pytest.raises(ValueError, match=r"audio has none of floating point\. Pass noise=0"):
        fit(Indexed(), redreg(), max_epochs=1)
    fit(Indexed(), redreg(noise=0), max_epochs=1)


def test_features_of_unequal_widths():
    with pytest.raises(ValueError, match=r"\{'audio': 5, 'video': 4\} wide.* pass agreement=None"):
        fit(Late(), redreg(), max_epochs=1)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"beta": 81}, ValueError, "`beta` must be from 0 to 80"),
        ({"gamma": -1}, ValueError, "`gamma` must be from 0"),
        ({"threshold": "high"}, TypeError, "`threshold` must be a number"),
        ({"agreement": 0.3}, TypeError, "`agreement` must be two numbers"),
        ({"agreement": (0.2, 1.5)}, ValueError, "`agreement` must be from -1 to 1"),
        ({"agreement_periods": 0}, ValueError, "`agreement_periods` must be a whole number"),
        ({"noise": -0.1}, ValueError, "`noise` must be from 0"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(settings, error, message):
    with pytest.raises(error, match=message):
        redreg(**settings)
