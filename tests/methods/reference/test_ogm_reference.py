"""OGM and OGM-GE through a Trainer against Eq. 8 to 12 of Peng et al., and their program's rule."""

import math

import pytest
import torch

from helpers.modules import assert_same_weights
from helpers.plain import (
    NETS,
    Convolutional,
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


@NETS
def test_every_weight_is_that_of_ogm(modalities, kind):
    plain = make_plain(modalities, kind)
    edit, applied = modulate(plain, alpha=0.4)
    expected = plain_loop(plain, edit)
    assert min(applied) < 1, "something must be scaled"
    callback = construct(OGMCallback, modalities, alpha=0.4)
    assert_same_training(callback, train(callback, modalities, kind), expected)


@NETS
def test_every_weight_is_that_of_ogm_ge(modalities, kind):
    plain = make_plain(modalities, kind)
    edit, _ = modulate(plain, alpha=0.4, noise=torch.Generator())
    expected = plain_loop(plain, edit)
    callback = construct(OGMGECallback, modalities, alpha=0.4)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        module = train(callback, modalities, kind)
    assert_same_training(callback, module, expected)


def published_rule(module, alpha, last, noise=None):
    """What the authors' program does after the backward pass, in words of our own.

    Two modalities; the sum of the true class's softmax over the batch; the ratio of the two, whose
    inverse is the other's; one factor, that of the modality ahead; epochs 0 to ``last``, both
    included; gradients of four dimensions only.
    """

    def edit(step, features, label, is_open, optimizer):
        if step // len(module.batches) > last:
            return
        if noise is not None:
            noise.manual_seed((7 * 1_000_003 + step) % 2**63)
        score = {}
        for name, logits in unimodal_logits(module, features).items():
            softmax = torch.softmax(logits.detach(), dim=1)
            score[name] = sum(softmax[i][label[i]] for i in range(len(label)))
        first, second = module.names
        ratio = score[second] / score[first]
        factor = {first: 1.0, second: 1.0}
        if ratio > 1:
            factor[second] = 1 - torch.tanh(alpha * torch.relu(ratio))
        else:
            factor[first] = 1 - torch.tanh(alpha * torch.relu(1 / ratio))
        for name in module.names:
            for p in encoder_parameters(module, name):
                if p.grad.dim() == 4:
                    width = p.grad.std().item() + 1e-8
                    p.grad = p.grad * factor[name]
                    if noise is not None:
                        p.grad += torch.randn(p.shape, generator=noise, dtype=p.dtype) * width

    return edit


@pytest.mark.parametrize("method", [OGMCallback, OGMGECallback])
def test_every_weight_is_that_of_the_published_program(method):
    plain = make_plain(2, Convolutional)
    noise = torch.Generator() if method is OGMGECallback else None
    expected = plain_loop(
        plain,
        published_rule(plain, alpha=0.4, last=3, noise=noise),
        lambda traces: {name: len(trace) <= 3 for name, trace in traces.items()},
    )
    published = {"alpha": 0.4, "window": (0, 4), "parameters": "convolutions"}
    callback = construct(method, 2, **published)
    with torch.random.fork_rng():
        torch.manual_seed(7)
        module = train(callback, 2, Convolutional)
        assert_same_training(callback, module, expected)
        torch.manual_seed(7)
        other = train(construct(method, 2, **published | {"parameters": "all"}), 2, Convolutional)
    assert (other.head.weight - module.head.weight).abs().max() > 1e-3


@pytest.mark.parametrize("method", [OGMCallback, OGMGECallback])
def test_convolutions_where_there_are_none_are_refused(method):
    with pytest.raises(ValueError, match="no encoder has a weight of four dimensions"):
        train(construct(method, 2, parameters="convolutions"), 2)
    with pytest.raises(ValueError, match=r"`parameters` must be one of \['all', 'convolutions'\]"):
        construct(method, 2, parameters="conv")


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
