"""The monitor, the strength and the projection of RedReg, by hand."""

import math

import pytest
import torch
import torch.nn.functional as F

from inforeg_lightning.core import (
    excess_redundancy,
    feature_agreement,
    gain_growth,
    orthogonal_pull,
    redreg_strength,
)


def test_growth_is_that_of_the_rolling_mean():
    scores = torch.tensor([[0.2, 0.5], [0.3, 0.5], [0.6, 0.5]])
    growth = gain_growth(scores, torch.tensor([3.0, 3.0]))
    assert growth.tolist() == pytest.approx([(0.45 - 0.25) / 0.25, 0.0])


def test_growth_is_one_until_there_are_enough_scores():
    scores = torch.tensor([[0.0, 0.1], [0.3, 0.2]])
    assert gain_growth(scores, torch.tensor([1.0, 2.0])).tolist() == pytest.approx([1.0, 1.0])
    assert gain_growth(scores, torch.tensor([1.0, 3.0]))[0] == 1.0


def test_a_loss_of_score_does_not_add_to_redundancy():
    found = excess_redundancy(torch.tensor([1.2, 1.2]), torch.tensor([0.5, -0.5]), 0.6)
    assert found.tolist() == pytest.approx([0.9, 1.2])


def test_only_the_dominant_modality_is_pulled():
    scores = torch.tensor([0.4, 0.7, 0.5])
    found = redreg_strength(scores, torch.ones(3), 0.9, 0.15)
    expected = math.exp(0.9 * math.tanh((0.3 + 0.2) / 2))
    assert found.tolist() == pytest.approx([0.0, expected, 0.0])


@pytest.mark.parametrize(
    ("scores", "excess"),
    [
        ([0.4, 0.7], [9.0, 0.1]),  # not redundant
        ([0.5, 0.5], [9.0, 9.0]),  # a tie
        ([math.nan, 0.5], [9.0, 9.0]),  # alone in the batch
    ],
)
def test_where_nothing_is_pulled(scores, excess):
    found = redreg_strength(torch.tensor(scores), torch.tensor(excess), 0.9, 0.15)
    assert found.tolist() == [0.0, 0.0]


def test_the_pull_is_orthogonal_to_each_gradient():
    torch.manual_seed(0)
    parameters = [torch.nn.Parameter(torch.randn(3, 2)), torch.nn.Parameter(torch.randn(4))]
    anchors = [torch.randn(3, 2), torch.randn(4)]
    before = [torch.randn(3, 2), torch.zeros(4)]  # the second one has nothing to be orthogonal to
    after = [g.clone() for g in before]
    orthogonal_pull(parameters, after, anchors, torch.tensor(0.5))
    for w, anchor, g, edited in zip(parameters, anchors, before, after, strict=True):
        added = (edited - g) / 0.5
        assert float((added * g).sum()) == pytest.approx(0.0, abs=1e-5)
        rest = (w - anchor) - added
        along = rest if g.any() else torch.zeros_like(rest)
        torch.testing.assert_close(rest, along)
    torch.testing.assert_close(after[1], 0.5 * (parameters[1] - anchors[1]).detach())


def test_agreement_is_the_mean_cosine_with_others_over_samples_that_have_both():
    generator = torch.Generator().manual_seed(0)
    features = {m: torch.randn(5, 3, generator=generator) for m in "abc"}
    present = {"b": torch.tensor([True, False, True, True, False])}
    found = feature_agreement(features, present)
    ab = F.cosine_similarity(features["a"], features["b"])[present["b"]]
    ac = F.cosine_similarity(features["a"], features["c"])
    torch.testing.assert_close(found["a"], (ab.sum() + ac.sum(), torch.tensor(8.0)))
    assert found["b"][1] == 6
