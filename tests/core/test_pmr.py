import math

import pytest
import torch

from inforeg_lightning.core.pmr import (
    blend_prototypes,
    class_totals,
    entropy,
    pmr_binary_coefficients,
    pmr_coefficients,
    prototype_log_probabilities,
)


def matrix(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_totals_by_hand():
    z = matrix([1, 2], [3, 4], [5, 6], [7, 8])
    totals = class_totals(z, torch.tensor([2, 0, 2, -100]), classes=4)
    assert totals.tolist() == [[3, 4, 1], [0, 0, 0], [6, 8, 2], [0, 0, 0]]


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_samples_that_are_not_finite_are_left_out_of_all_totals(bad):
    z = matrix([1, 2], [bad, 4], [5, 6])
    totals = class_totals(z, torch.tensor([0, 0, 1]), classes=2)
    assert totals.tolist() == [[1, 2, 1], [5, 6, 1]]


def test_prototypes_move_by_momentum_and_start_at_the_mean():
    before = matrix([1, 1], [2, 2], [9, 9])
    known = torch.tensor([True, True, False])
    totals = matrix([6, 12, 3], [0, 0, 0], [8, 4, 2])
    after, has = blend_prototypes(before, known, totals, momentum=0.2)
    torch.testing.assert_close(after, matrix([0.2 + 1.6, 0.2 + 3.2], [2, 2], [4, 2]))
    assert has.all()
    assert blend_prototypes(before, known, totals * 0, 0.2)[1].tolist() == known.tolist()


def test_probabilities_fall_with_the_distance():
    z = matrix([0, 0], [3, 4])
    log_p = prototype_log_probabilities(z, matrix([0, 0], [3, 4]), torch.tensor([True, True]))
    near, far = 1 / (1 + math.exp(-5)), 1 / (1 + math.exp(5))
    torch.testing.assert_close(log_p.exp(), matrix([near, far], [far, near]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_class_without_a_prototype_has_probability_0_and_finite_gradients(dtype):
    z = torch.zeros(2, 3, dtype=dtype, requires_grad=True)  # on a prototype: distance 0
    prototypes = torch.eye(3, dtype=dtype) * torch.tensor([[0.0], [2.0], [1.0]], dtype=dtype)
    log_p = prototype_log_probabilities(z, prototypes, torch.tensor([True, True, False]))
    assert torch.isfinite(log_p).all()
    assert (log_p.exp()[:, 2] == 0).all()
    torch.testing.assert_close(log_p.exp().sum(1), torch.ones(2, dtype=dtype))
    (entropy(log_p).sum() + log_p[:, 0].sum()).backward()
    assert torch.isfinite(z.grad).all()


def test_near_a_prototype_float32_keeps_its_digits():
    z = torch.full((64, 8), 100.0)
    prototypes = z[:2] + torch.tensor([[1e-3], [2e-3]])
    log_p = prototype_log_probabilities(z, prototypes, torch.ones(2, dtype=torch.bool))
    gap = math.sqrt(8) * 1e-3
    torch.testing.assert_close(log_p[:, 0] - log_p[:, 1], torch.full((64,), gap), rtol=0.05, atol=0)


def test_entropy_of_the_uniform_and_of_the_certain():
    log_p = torch.log_softmax(matrix([0, 0, 0, 0], [1e4, 0, 0, 0]), 1)
    assert entropy(log_p).tolist() == pytest.approx([math.log(4), 0])


@pytest.mark.parametrize(
    ("strengths", "beta", "gamma"),
    [((2.0, 3.0), 0.5, 0.0), ((3.0, 2.0), 0.0, 0.5), ((1.0, 9.0), 1.0, 0.0), ((4.0, 4.0), 0, 0)],
)
def test_two_modalities_have_the_papers_coefficients(strengths, beta, gamma):
    speed, slow = pmr_coefficients(torch.tensor(strengths, dtype=torch.float64))
    assert speed.tolist() == pytest.approx([beta, gamma])
    assert slow.tolist() == pytest.approx([gamma, beta])


def test_three_are_compared_with_the_mean_of_the_others():
    speed, slow = pmr_coefficients(torch.tensor([4.0, 3.0, 2.0], dtype=torch.float64))
    assert speed.tolist() == pytest.approx([0, 0, 0.75])
    assert slow.tolist() == pytest.approx([0.6, 0, 0])


@pytest.mark.parametrize("strengths", [(0, 0), (0, 1), (1e-30, 1), (1e30, 1e-30), (0, 0, 5)])
def test_they_stay_between_0_and_1(strengths):
    for coefficients in pmr_coefficients(torch.tensor(strengths, dtype=torch.float32)):
        assert ((coefficients >= 0) & (coefficients <= 1)).all()


@pytest.mark.parametrize(
    ("strengths", "expected"),
    [
        ([0.2, 0.6], [1, 0]),
        ([0.6, 0.2], [0, 1]),
        ([0.4, 0.4], [0, 0]),
        ([0.2, 0.3, 0.7], [1, 1, 0]),
        ([math.nan, 0.3, 0.7], [0, 1, 0]),
    ],
    ids=["first slower", "second slower", "tie", "three", "one not there"],
)
def test_binary_coefficients_speed_up_whom_is_behind_the_others(strengths, expected):
    found = pmr_binary_coefficients(torch.tensor(strengths, dtype=torch.float64))
    assert found.tolist() == expected
