import math

import pytest
import torch
import torch.nn.functional as F

from inforeg_lightning.core.auto_balance import (
    joint_factors,
    residual_norms,
    shared_progress,
    signal_share,
)


@pytest.fixture
def logits():
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_the_signal_is_the_norm_of_the_gradient_for_the_logits(logits):
    target = torch.arange(6) % 4
    z = logits.requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(z, target, reduction="sum"), z)
    torch.testing.assert_close(residual_norms(z.detach(), target), gradient.norm(dim=1))


def test_one_hot_probabilities_are_classes(logits):
    target = torch.arange(6) % 4
    one_hot = F.one_hot(target, 4).to(logits.dtype)
    torch.testing.assert_close(residual_norms(logits, one_hot), residual_norms(logits, target))


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_the_signal_of_extreme_logits_is_0_or_root_2(scale):
    logits = scale * torch.eye(3)[:2]
    expected = 0.0 if scale > 0 else math.sqrt(1.5)
    found = residual_norms(logits, torch.arange(2))
    torch.testing.assert_close(found, torch.full((2,), expected))


def test_a_share_is_from_0_to_1():
    fused, alone = torch.tensor([1.0, 3.0, 0.0, 0.0]), torch.tensor([4.0, 2.0, 2.0, 0.0])
    assert signal_share(fused, alone).tolist() == [0.25, 1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("train", "lowest", "gate"),
    [
        ([], [], 1.0),  # before validation has told
        ([2.0], [2.3], 1.0),
        ([2.0, 1.0], [2.3, 1.8], 0.5),
        ([2.0, 1.0], [2.3, 1.0], 1.0),  # more than training
        ([2.0, 1.0], [2.3, 2.3], 0.0),  # memorised
        ([1.0, 1.2], [2.3, 2.2], 1.0),  # no progress in training, but a new low
        ([1.0, 1.2], [2.3, 2.3], 0.0),
    ],
)
def test_progress_by_hand(train, lowest, gate):
    assert shared_progress(train, lowest) == pytest.approx(gate)


def test_what_is_longer_ago_than_the_memory_does_not_count():
    train, lowest = [3.0, 2.0, 1.5, 1.0], [2.5, 2.0, 1.9, 1.9]
    assert shared_progress(train, lowest, memory=1) == 0
    assert shared_progress(train, lowest, memory=2) == pytest.approx(0.1)
    assert shared_progress(train, lowest, memory=9) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("train", "lowest"), [([1.0, math.nan], [2.3, 2.0]), ([2.0, 1.0], [math.inf, math.inf])]
)
def test_progress_that_no_sample_shows_is_not_known(train, lowest):
    assert math.isnan(shared_progress(train, lowest))


def test_to_learn_to_say_nothing_is_no_progress():
    train, lowest = [2.6, 2.31], [2.5, 2.305]
    assert shared_progress(train, lowest) > 0.6
    assert shared_progress(train, lowest, chance=math.log(10)) == 0


def test_a_modality_is_held_back_by_what_it_lacks_of_the_best():
    assert joint_factors([0.9, 0.2, math.nan]) == pytest.approx([1.0, 0.3, 1.0])
    assert joint_factors([0.0, 0.0]) == [1.0, 1.0]
    assert joint_factors([math.nan]) == [1.0]
