"""PDMP through a Trainer against a plain loop whose gradients are multiplied by constants."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.comparison import assert_close_weights
from helpers.modules import Late, encoder_paths, make_batches, snapshot
from helpers.regulated import fit
from inforeg_lightning.callbacks import PDMPCallback

EPOCHS = 3
ALONE = {"audio": 0.4, "video": 0.9, "text": 0.7}


class WithBatchNorm(Late):
    def make_encoder(self, inputs, width):
        return nn.Sequential(
            nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, width)
        )


def pdmp_loop(module, gamma_p, gamma_r):
    optimizer, weights = module.configure_optimizers(), []
    for _ in range(EPOCHS):
        for batch in module.batches:
            loss = F.cross_entropy(module(batch), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            for name, parameter in module.named_parameters():
                if not name.startswith("head"):
                    parameter.grad *= gamma_p if name.startswith("video") else gamma_r
            optimizer.step()
        weights.append(snapshot(module))
    return weights


def pdmp(modalities=2, **settings):
    paths = encoder_paths(modalities)
    settings = {"performance": {m: ALONE[m] for m in paths}, "gamma_p": 1.7, "gamma_r": 0.6} | (
        settings
    )
    return PDMPCallback(paths, head="head", **settings)


@pytest.mark.parametrize(("kind", "modalities"), [(Late, 3), (WithBatchNorm, 2)])
def test_every_weight_of_every_epoch_is_that_of_the_formula(kind, modalities):
    torch.manual_seed(0)
    callback = pdmp(modalities)
    ours = fit(kind(modalities, make_batches(modalities)), callback, max_epochs=EPOCHS)
    theirs = pdmp_loop(kind(modalities, make_batches(modalities)), 1.7, 0.6)
    assert_close_weights(ours["weights"], theirs)
    expected = {m: 1.7 if m == "video" else 0.6 for m in encoder_paths(modalities)}
    assert callback.history[-1]["coefficient"] == pytest.approx(expected)


def test_performances_may_be_in_the_order_of_the_encoders():
    named, ordered = pdmp(), pdmp(performance=[0.4, 0.9])
    ours, theirs = (fit(Late(), callback, max_epochs=1) for callback in (named, ordered))
    assert_close_weights(ours["weights"], theirs["weights"], atol=0)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"gamma_p": 0}, ValueError, "`gamma_p` must be above 0"),
        ({"gamma_r": -1}, ValueError, "`gamma_r` must be from 0"),
        ({"gamma_r": 1.7}, ValueError, "`gamma_r` must be below `gamma_p`"),
        ({"performance": [0.4]}, ValueError, "`performance` must say for each of"),
        ({"performance": {"audio": 1, "smell": 2}}, ValueError, "`performance` must say for each"),
        ({"performance": "video"}, ValueError, "`performance` must say for each"),
        ({"performance": ["good", "bad"]}, TypeError, r"`performance\['audio'\]` must be a number"),
        ({"performance": [0.4, 0.4]}, ValueError, "several have 0.4"),
        ({"performance": [float("nan"), 0.4]}, ValueError, r"`performance\['audio'\]` must be"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(settings, error, message):
    with pytest.raises(error, match=message):
        pdmp(**settings)
