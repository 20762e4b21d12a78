"""Coefficients and noise of OGM-GE."""

import math

import pytest
import torch

from inforeg_lightning.core.ogm import discrepancy_ratios, gradient_noise, ogm_coefficients


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def test_two_modalities_have_the_ratio_of_the_paper():
    assert discrepancy_ratios(vector(0.6, 0.2)).tolist() == pytest.approx([3.0, 1 / 3])


def test_three_are_compared_with_the_mean_of_the_others():
    assert discrepancy_ratios(vector(0.6, 0.2, 0.4)).tolist() == pytest.approx([2.0, 0.4, 1.0])


def test_only_those_ahead_are_scaled_down():
    found = ogm_coefficients(vector(0.6, 0.2, 0.4), alpha=0.3)
    assert found.tolist() == pytest.approx([1 - math.tanh(0.6), 1.0, 1.0])


def test_mean_and_sum_over_the_batch_give_the_same():
    mean = vector(0.5, 0.3)
    torch.testing.assert_close(ogm_coefficients(64 * mean, 0.2), ogm_coefficients(mean, 0.2))


@pytest.mark.parametrize("scores", [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1e-300, 1.0), (1.0, 1.0)])
def test_extreme_scores_give_finite_coefficients_from_0_to_1(scores):
    found = ogm_coefficients(vector(*scores), alpha=0.5)
    assert ((found >= 0) & (found <= 1)).all()
    if scores[0] == scores[1]:
        assert found.tolist() == [1.0, 1.0]


def test_who_is_compared_with_nothing_is_scaled_to_nothing():
    assert ogm_coefficients(vector(1.0, 0.0), alpha=0.5).tolist() == [0.0, 1.0]
    assert ogm_coefficients(vector(0.3, 0.0, 0.0), alpha=0.5).tolist() == [0.0, 1.0, 1.0]


def test_the_noise_is_as_wide_as_the_gradient():
    draw = torch.Generator().manual_seed(1)
    gradient = 5 + 3 * torch.randn(200, 100, generator=draw, dtype=torch.float64)
    wide, none = gradient_noise([gradient, torch.ones(1)], torch.Generator().manual_seed(0))
    # Of n numbers the deviation is known to 1 / sqrt(2 n), the mean to the deviation / sqrt(n).
    # Ten of these, so that a torch that draws other numbers passes as well.
    deviation, n = float(gradient.std()), gradient.numel()
    assert float(wide.std()) == pytest.approx(deviation, rel=10 / (2 * n) ** 0.5)
    assert abs(float(wide.mean())) < 10 * deviation / n**0.5
    assert none.tolist() == [0.0]


def test_a_gradient_that_is_the_same_everywhere_gets_the_floor():
    (noise,) = gradient_noise([torch.ones(1000)], torch.Generator().manual_seed(0))
    assert 0 < noise.std() < 2e-8
