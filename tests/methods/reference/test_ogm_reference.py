"""OGM and OGM-GE through a Trainer against Eq. 8 to 12 of Peng et al., written out."""

import math

import pytest
import torch

from helpers.modules import assert_same_weights
from helpers.plain import (
    assert_same_training,
    construct,
    encoder_parameters,
    make_plain,
    plain_loop,
    train,
    true_probabilities,
    unimodal_logits,
)
from inforeg_lightning.callbacks import OGMCallback, OGMGECallback


def modulate(module, alpha, noise=None):
    applied = []

    def edit(step, features, label, is_open, optimizer):
        score = true_probabilities(unimodal_logits(module, features), label)
        if noise is not None:
            noise.manual_seed((7 * 1_000_003 + step) % 2**63)
        for name in module.names:
            if not is_open[name]:
                continue
            others = [float(score[n]) for n in module.names if n != name]
            ratio = float(score[name]) / (sum(others) / len(others))
            factor = 1 - math.tanh(alpha * ratio) if ratio > 1 else 1.0
            applied.append(factor)
            drawn = [
                torch.randn(p.shape, generator=noise, dtype=p.dtype) * (p.grad.std() + 1e-8)
                for p in encoder_parameters(module, name)
                if noise is not None
            ]
            for index, p in enumerate(encoder_parameters(module, name)):
                p.grad = p.grad * factor + (drawn[index] if drawn else 0.0)

    return edit, applied


@pytest.mark.parametrize("modalities", [2, 3])
def test_every_weight_is_that_of_ogm(modalities):
    plain = make_plain(modalities)
    edit, applied = modulate(plain, alpha=0.4)
    expected = plain_loop(plain, edit)
    assert min(applied) < 1, "something must be scaled"
    callback = construct(OGMCallback, modalities, alpha=0.4)
    assert_same_training(callback, train(callback, modalities), expected)


@pytest.mark.parametrize("modalities", [2, 3])
def test_every_weight_is_that_of_ogm_ge(modalities):
    plain = make_plain(modalities)
    edit, _ = modulate(plain, alpha=0.4, noise=torch.Generator())
    expected = plain_loop(plain, edit)
    callback = construct(OGMGECallback, modalities, alpha=0.4)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        module = train(callback, modalities)
    assert_same_training(callback, module, expected)


def train_from(seed, window):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = train(construct(OGMGECallback, 2, window=window), 2)
        return module.epoch_weights[-1], torch.random.get_rng_state()


def test_the_noise_follows_the_seed_and_leaves_the_global_generator_alone():
    (seven, state), (again, _), (eight, _) = (train_from(seed, "always") for seed in (7, 7, 8))
    assert_same_weights(seven, again)
    assert not torch.equal(seven["head.weight"], eight["head.weight"])
    without_noise, expected = train_from(7, "never")
    assert torch.equal(state, expected)
    assert not torch.equal(seven["head.weight"], without_noise["head.weight"])
