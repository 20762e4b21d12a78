"""The coefficients of MLB, by hand."""

import math

import pytest
import torch

from inforeg_lightning.core import mlb_coefficients


def test_the_one_ahead_is_slowed_and_the_one_behind_hastened():
    found = mlb_coefficients(torch.tensor([0.8, 0.4]), 0.5)
    assert found.tolist() == pytest.approx([1 + math.tanh(-0.25), 1 + math.tanh(0.5)])


def test_the_most_that_one_is_hastened_by():
    found = mlb_coefficients(torch.tensor([0.8, 0.4]), 0.5, most=1.5)
    assert found.tolist() == pytest.approx([1 + math.tanh(-0.25), 1 + 0.5 * math.tanh(0.5)])
    assert mlb_coefficients(torch.tensor([1.0, 0.0]), 0.5, most=3.0).tolist() == pytest.approx(
        [1 + math.tanh(-0.5), 3.0]
    )


def test_of_three_each_is_compared_with_the_mean_of_the_others():
    found = mlb_coefficients(torch.tensor([0.6, 0.3, 0.5]), 1.0)
    ratios = [0.4 / 0.6, 0.55 / 0.3, 0.45 / 0.5]
    assert found.tolist() == pytest.approx([1 + math.tanh(r - 1) for r in ratios])


@pytest.mark.parametrize("scores", [[0.5, 0.5], [0.0, 0.0], [math.nan, 0.5]])
def test_where_there_is_nothing_to_balance(scores):
    assert mlb_coefficients(torch.tensor(scores), 0.8).tolist() == pytest.approx([1.0, 1.0])
