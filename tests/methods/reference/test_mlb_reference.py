"""MLB through a Trainer against a plain loop, written from the authors' ``Bias_Infusion_MLB``."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.comparison import assert_close_weights
from helpers.modules import CLASSES, WIDTHS, Late, encoder_paths, make_batches, names, snapshot
from helpers.reference import true_class
from helpers.regulated import fit
from inforeg_lightning.callbacks import MLBCallback

EPOCHS, ALPHA = 3, 0.8


class Classified(Late):
    """With a classifier per modality."""

    def __init__(self, modalities=2):
        super().__init__(modalities, make_batches(modalities), lr=0.05)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            for name in names(modalities):
                linear = nn.Linear(WIDTHS[name][1], CLASSES).double()
                setattr(self, f"{name}_classifier", linear)


class WithBatchNorm(Classified):
    def make_encoder(self, inputs, width):
        return nn.Sequential(
            nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, width)
        )


def mlb_loop(module, most=2.0):
    """Parameters after each epoch, and the coefficients of each step."""
    optimizer, weights, used = module.configure_optimizers(), [], []
    for _ in range(EPOCHS):
        for batch in module.batches:
            label, features = batch["label"], module.features(batch)
            logits = {n: getattr(module, f"{n}_classifier")(z) for n, z in features.items()}
            scores = {n: true_class(z.softmax(1), label).mean().item() for n, z in logits.items()}
            losses = [module.head(torch.cat([*features.values()], 1)), *logits.values()]
            optimizer.zero_grad()
            sum(F.cross_entropy(z, label) for z in losses).backward()
            coefficient = {}
            for n in module.names:
                others = [scores[other] for other in module.names if other != n]
                ratio = sum(others) / len(others) / scores[n]
                reach = most - 1 if ratio > 1 else 1
                coefficient[n] = 1 + reach * math.tanh(ALPHA * (ratio - 1))
                for parameter in getattr(module, f"{n}_encoder").parameters():
                    parameter.grad *= coefficient[n]
            used.append(coefficient)
            optimizer.step()
        weights.append(snapshot(module))
    return weights, used


def mlb(modalities=2, **settings):
    heads = {name: f"{name}_classifier" for name in names(modalities)}
    return MLBCallback(
        encoder_paths(modalities), head="head", alpha=ALPHA, unimodal_heads=heads, **settings
    )


@pytest.mark.parametrize(
    ("kind", "modalities", "most"),
    [(Classified, 3, 2.0), (WithBatchNorm, 2, 2.0), (Classified, 2, 1.3)],
)
def test_every_weight_of_every_epoch_is_that_of_the_formula(kind, modalities, most):
    theirs, used = mlb_loop(kind(modalities), most)
    factors = [k for of in used for k in of.values()]
    assert min(factors) < 0.95
    assert max(factors) > 1.05
    callback = mlb(modalities, most=most)
    ours = fit(kind(modalities), callback, max_epochs=EPOCHS)
    assert_close_weights(ours["weights"], theirs)
    steps = used[-len(ours["module"].batches) :]
    for name, mean in callback.history[-1]["coefficient"].items():
        assert mean == pytest.approx(sum(of[name] for of in steps) / len(steps))


def test_a_module_with_unimodal_losses_of_its_own_is_refused():
    module = Classified()
    module.unimodal_losses = True
    with pytest.raises(ValueError, match=r"MLB brings .* would then count twice"):
        fit(module, mlb(), max_epochs=1)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"alpha": 0}, ValueError, "`alpha` must be above 0"),
        ({"most": 0.5}, ValueError, "`most` must be from 1"),
        ({"most": "2"}, TypeError, "`most` must be a number"),
        ({"unimodal_heads": "other"}, ValueError, "`unimodal_heads` must be 'own', 'shared'"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(settings, error, message):
    with pytest.raises(error, match=message):
        MLBCallback(encoder_paths(), head="head", **settings)
