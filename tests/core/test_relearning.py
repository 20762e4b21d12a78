"""Purity, strength and return of Diagnosing & Re-learning, by hand."""

import math

import pytest
import torch

from inforeg_lightning.core import purity, return_strength, return_to


def test_purity_is_the_share_of_the_commonest_class_of_each_cluster():
    classes = torch.tensor([0, 0, 1, 2, 2, 2, 1])
    clusters = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    assert purity(classes, clusters) == pytest.approx(5 / 7)


def test_purity_does_not_care_how_clusters_are_numbered_or_whether_some_are_empty():
    classes = torch.tensor([0, 1, 1, 4])
    assert purity(classes, torch.tensor([5, 0, 0, 2])) == 1.0
    assert purity(classes, torch.tensor([3, 3, 3, 3])) == 0.5


@pytest.mark.parametrize(("train", "val"), [(0.9, 0.5), (0.5, 0.9)])
def test_strength_grows_with_the_gap_whichever_is_larger(train, val):
    assert return_strength(train, val, 3.0) == pytest.approx(math.tanh(1.2))
    assert return_strength(train, val, 0.0) == 0.0
    assert return_strength(0.7, 0.7, 3.0) == 0.0


def test_a_return_is_part_of_the_way_to_the_initial_weights():
    torch.manual_seed(0)
    initial = [torch.randn(3, 2), torch.randn(4)]
    weights = [torch.randn(3, 2), torch.randn(4)]
    moved = [w.clone() for w in weights]
    return_to(moved, initial, 0.25)
    for after, before, start in zip(moved, weights, initial, strict=True):
        torch.testing.assert_close(after, 0.75 * before + 0.25 * start)
    return_to([], [], 0.25)


def test_parameters_with_a_gradient_can_be_returned():
    parameter = torch.nn.Parameter(torch.ones(2))
    return_to([parameter], [torch.zeros(2)], 0.5)
    assert parameter.tolist() == [0.5, 0.5]
    assert parameter.requires_grad
