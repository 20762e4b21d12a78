"""Encoders that are frozen, in part or for a while."""

import math

import pytest
import torch

from helpers.methods import every_method
from helpers.modules import Late, snapshot
from helpers.regulated import fit

EPOCHS = 2


def trained(module, callback):
    return fit(module, callback, max_epochs=EPOCHS)


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
