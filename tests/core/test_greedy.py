"""Whom Greedy trains alone, and for how long."""

import pytest
import torch

from inforeg_lightning.core.greedy import Balance, relative_square

BOTH, YES = torch.tensor([True, True]), torch.tensor(True)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


def after(balance, fusion, encoder, counts=YES, may_act=BOTH, tolerance=0.5, steps=2):
    return balance.after(vector(*fusion), vector(*encoder), counts, may_act, tolerance, steps)


@pytest.fixture
def start():
    return Balance.start(2, vector(0.0))


def test_the_speed_compares_the_sums_over_all_steps(start):
    balance = after(after(start, (1, 1), (10, 1)), (1, 3), (10, 3), tolerance=9.0)
    assert balance.speeds().tolist() == pytest.approx([-1.0, 0.0])


def test_the_one_whose_encoder_lags_is_trained_alone_for_so_many_steps(start):
    balance = after(start, (1, 1), (10, 1))
    assert balance.alone.tolist() == [False, True]
    measured = balance.fusion.tolist()
    for left in (1, 0):
        balance = after(balance, (100, 1), (1, 1))
        assert balance.left == left
        assert balance.fusion.tolist() == measured, "a step alone is not measured"
    assert balance.alone.tolist() == [False, False]
    assert after(balance, (100, 1), (1, 1)).alone.tolist() == [True, False]


def test_within_the_tolerance_nothing_begins(start):
    assert not after(start, (1, 1), (2, 1), tolerance=0.31).alone.any()
    assert after(start, (1, 1), (2, 1), tolerance=0.30).alone.any()


def test_one_outside_its_window_is_not_trained_alone(start):
    balance = after(start, (1, 1), (10, 1), may_act=torch.tensor([True, False]))
    assert not balance.alone.any()
    assert balance.left == 0, "and nothing is waited for"


def test_a_step_that_does_not_count_leaves_the_sums(start):
    balance = after(start, (torch.nan, 1), (10, 1), counts=torch.tensor(False))
    assert balance.fusion.tolist() == [0.0, 0.0]
    assert not balance.alone.any()


def test_a_modality_without_gradient_is_compared_with_nobody(start):
    balance = after(start, (1, 1), (10, 0), tolerance=0.0)
    assert balance.speeds().isnan().tolist() == [False, True]
    assert not balance.alone.any()


def test_a_part_without_weights_has_no_relative_gradient():
    found = relative_square(vector(4.0, 1.0), vector(2.0, 0.0))
    assert found.tolist() == [2.0, 0.0]
