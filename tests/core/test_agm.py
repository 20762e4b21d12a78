import math

import pytest
import torch

from inforeg_lightning.core.agm import agm_coefficients, agm_ratios


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_the_ratio_is_to_the_mean_of_the_others():
    expected = [math.exp(x) for x in (-1 + 2.5, -2 + 2, -3 + 1.5)]
    assert agm_ratios(vector(-1, -2, -3)).tolist() == pytest.approx(expected)


def test_two_modalities_by_hand():
    # r = e and 1/e; τ = 1
    kappa = agm_coefficients(vector(-0.5, -1.5), vector(0, 0), alpha=0.7)
    expected = [math.exp(0.7 * (1 - math.e)), math.exp(0.7 * (1 - 1 / math.e))]
    assert kappa.tolist() == pytest.approx(expected)


def test_as_far_ahead_as_ever_nothing_is_changed():
    means = vector(-0.3, -2.0, -1.0)
    assert agm_coefficients(means - 0.4, means, alpha=1.0).tolist() == pytest.approx([1, 1, 1])


def test_further_ahead_than_so_far_is_slowed():
    ahead, behind = agm_coefficients(vector(-0.2, -2.0), vector(-0.5, -1.5), alpha=1.0)
    assert ahead < 1 < behind


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_they_are_finite_for_all_scores_that_can_be(dtype):
    lowest = math.log(1e-8)
    s = torch.tensor([0.0, lowest], dtype=dtype)
    for scores, means in ((s, s.flip(0)), (s.flip(0), s), (s, s)):
        kappa = agm_coefficients(scores, means, alpha=8.0)
        assert torch.isfinite(kappa).all()
        assert (kappa >= 0).all()
        assert (kappa <= math.exp(80.0) * 1.01).all()
