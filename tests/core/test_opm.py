import math

import pytest
import torch

from inforeg_lightning.core.opm import opm_probabilities, opm_scale


def test_hand_computed():
    q = opm_probabilities(torch.tensor([0.6, 0.4], dtype=torch.float64), q_base=0.5, lam=0.5)
    assert q.tolist() == pytest.approx([0.5 * (1 + 0.5 * math.tanh(0.5)), 0.0])


def test_of_three_those_that_exceed_the_mean_of_the_others_are_dropped():
    q = opm_probabilities(torch.tensor([0.6, 0.5, 0.1], dtype=torch.float64), q_base=0.5, lam=1.0)
    expected = [0.5 * (1 + math.tanh(0.6 / 0.3 - 1)), 0.5 * (1 + math.tanh(0.5 / 0.35 - 1)), 0.0]
    assert q.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("scores", [[0.5, 0.5], [0.0, 0.0], [0.7, math.nan]])
def test_without_a_lead_nothing_is_dropped(scores):
    assert opm_probabilities(torch.tensor(scores), 0.5, 0.5).tolist() == [0.0, 0.0]


def test_it_is_1_at_most_however_far_the_lead():
    assert opm_probabilities(torch.tensor([0.9, 0.0]), 0.8, 0.5).tolist() == [1.0, 0.0]


def test_the_scale_makes_up_for_the_share_of_features_that_is_dropped():
    q = torch.tensor([0.5, 0.0], dtype=torch.float64)
    assert opm_scale(q, [512, 512]).item() == pytest.approx(1 / 0.75)
    assert opm_scale(q, [3, 1]).item() == pytest.approx(1 / (1 - 0.5 * 3 / 4))
    assert opm_scale(torch.zeros(2), [5, 4]).item() == pytest.approx(1.0)
