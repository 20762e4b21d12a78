import math

import pytest
import torch
import torch.nn.functional as F

from inforeg_lightning.core.auto_balance import (
    generalisation,
    joint_factors,
    residual_norms,
    signal_share,
    withheld,
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
    ("training", "validation", "gate"),
    [
        (1.0, 1.5, 0.5),
        (1.0, 0.8, 1.0),  # more than of the training samples
        (0.1, 2.0, 0.0),  # memorised
        (0.1, 5.0, 0.0),  # and certain of it
        (2.1, 1.9, 1.0),  # knows nothing of the training samples, but something of others
        (2.1, 2.2, 0.0),
    ],
)
def test_generalisation_by_hand(training, validation, gate):
    assert generalisation(training, validation, chance=2.0) == pytest.approx(gate)


@pytest.mark.parametrize("losses", [(math.nan, 1.0), (1.0, math.nan), (math.inf, 1.0)])
def test_what_no_sample_shows_is_not_known(losses):
    assert math.isnan(generalisation(*losses, chance=2.0))


def test_a_modality_is_held_back_by_what_it_lacks_of_the_best():
    assert joint_factors([0.9, 0.2, math.nan], [1.0, 1.0, 1.0]) == pytest.approx([1.0, 0.3, 1.0])
    assert joint_factors([0.0, 0.0], [1.0, 2.0]) == [1.0, 1.0]
    assert joint_factors([math.nan], [math.nan]) == [1.0]


def test_a_modality_that_knows_nothing_alone_is_not_held_back():
    gates = [1.0, 0.0, 0.0, 0.0]
    assert joint_factors(gates, [2.0, 0.0, -1.0, 1.0]) == pytest.approx([1.0, 1.0, 1.0, 0.5])
    assert joint_factors(gates, [0.0] * 4) == [1.0] * 4


def test_what_reaches_a_modality_beside_one_that_memorises_hardly_counts():
    share = torch.tensor([1.0, 0.5, 0.0])
    assert withheld(share, [1.0, 1.0]).tolist() == [0.0, 0.5, 1.0]
    assert withheld(share, [1.0, 0.5]).tolist() == [0.5, 0.75, 1.0]
    assert withheld(share, [0.0, 1.0]).tolist() == [1.0, 1.0, 1.0]
