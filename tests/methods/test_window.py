"""Where its window is shut, a method measures and changes no bit."""

import pytest
import torch

from helpers.comparison import assert_close_weights
from helpers.methods import every_method, those
from helpers.modules import Late, assert_same_weights, make_batches
from helpers.regulated import fit

EPOCHS = 3


def trained(callback, modalities=2, **settings):
    module = Late(modalities, make_batches(modalities))
    return fit(module, callback, **{"max_epochs": EPOCHS} | settings)


def assert_equal(ours, theirs):
    assert len(ours["weights"]) == len(theirs["weights"]) > 0
    for mine, reference in zip(ours["weights"], theirs["weights"], strict=True):
        assert_same_weights(mine, reference)


def decides_against(traces):
    return dict.fromkeys(traces, False)


@every_method
@pytest.mark.parametrize(
    ("window", "modalities"), [("never", 2), ((7, 9), 3), (decides_against, 2)]
)
def test_shut_it_measures_and_changes_no_bit(method, window, modalities):
    ours = trained(method(modalities, window=window), modalities)
    assert_equal(ours, trained(None, modalities))
    for entry in ours["history"]:
        assert not any(entry["in_window"].values())
        assert min(entry["trace"].values()) > 0
        assert entry["skipped"] == 0


@every_method
def test_open_it_changes_the_training(method):
    ours, theirs = trained(method()), trained(None)
    with pytest.raises(AssertionError, match="audio"):
        assert_close_weights(ours["weights"], theirs["weights"], atol=1e-4)
    assert all(all(entry["in_window"].values()) for entry in ours["history"])


@every_method
def test_it_acts_in_the_periods_of_its_window_only(method):
    """Until the window opens all is joint training; what is open until then is all of it."""
    later, joint = trained(method(window=(1, 3))), trained(None)
    assert_same_weights(later["weights"][0], joint["weights"][0])
    with pytest.raises(AssertionError):
        assert_same_weights(later["weights"][1], joint["weights"][1])
    first, whole = trained(method(window=(0, 2))), trained(method())
    for epoch in (0, 1):
        assert_same_weights(first["weights"][epoch], whole["weights"][epoch])


@those(lambda method: not (method.by_validation or method.reaches_others))
def test_it_leaves_the_encoder_of_a_modality_alone_that_is_outside(method):
    """After one step: later ones also see what has become of the others."""

    def audio_only(traces):
        return {modality: modality == "audio" for modality in traces}

    one = {"max_epochs": 1, "limit_train_batches": 1}
    ours, joint = trained(method(window=audio_only), **one), trained(None, **one)
    for name, weight in joint["weights"][0].items():
        if name.startswith("video_encoder"):
            assert torch.equal(ours["weights"][0][name], weight), name


@every_method
def test_periods_of_steps_are_epochs_of_as_many(method):
    by_steps, by_epoch = trained(method(window=(1, 2), period=4)), trained(method(window=(1, 2)))
    assert_equal(by_steps, by_epoch)
    for mine, reference in zip(by_steps["history"], by_epoch["history"], strict=True):
        for quantity in ("step", "steps", "in_window", *method.quantities):
            assert mine[quantity] == reference[quantity]
