import pytest

from inforeg_lightning.core.gblending import (
    Losses,
    blending_weights,
    generalisation,
    overfitting,
    weights_within,
)

EQUAL = [1 / 3] * 3
BEFORE = Losses(train=[1.0, 1.0, 1.0], val=[1.5, 1.2, 1.1])


def test_hand_computed():
    # G = 0.5, 0.2, 0.1 and O = 0.5 - 0.5 + 0.1, ... = 0.1, 0.2, 0.1: G / O² = 50, 5, 10.
    after = Losses(train=[0.4, 0.6, 0.8], val=[1.0, 1.0, 1.0])
    weights = blending_weights(BEFORE, after, EQUAL)
    assert weights == pytest.approx([50 / 65, 5 / 65, 10 / 65])


def test_generalisation_and_overfitting_by_hand():
    after = Losses(train=[0.4, 0.6, 0.8], val=[1.0, 1.3, 1.0])
    assert generalisation(BEFORE, after) == pytest.approx([0.5, -0.1, 0.1])
    assert overfitting(BEFORE, after) == pytest.approx([0.1, 0.5, 0.1])


def test_a_floor_lifts_all_weights_and_keeps_their_sum():
    after = Losses(train=[0.4, 0.6, 0.8], val=[1.0, 1.0, 1.2])
    weights = blending_weights(BEFORE, after, EQUAL, floor=0.1)
    assert weights == pytest.approx([0.1 + 0.7 * 50 / 55, 0.1 + 0.7 * 5 / 55, 0.1])
    assert blending_weights(BEFORE, after, EQUAL, floor=1 / 3) == pytest.approx(EQUAL)


def test_less_overfitting_counts_as_more_does():
    more = Losses(train=[0.3, 0.6, 0.8], val=[1.0, 1.0, 1.0])
    less = Losses(train=[0.7, 0.6, 0.8], val=[1.0, 1.0, 1.0])
    assert blending_weights(BEFORE, more, EQUAL) == pytest.approx(
        blending_weights(BEFORE, less, EQUAL)
    )


def test_what_does_not_generalise_has_no_weight():
    after = Losses(train=[0.4, 0.6, 0.8], val=[1.0, 1.0, 1.2])
    assert blending_weights(BEFORE, after, EQUAL) == pytest.approx([50 / 55, 5 / 55, 0.0])


@pytest.mark.parametrize(
    "after",
    [
        Losses(train=[0.4, 0.6, 0.8], val=[1.5, 1.3, 1.2]),
        Losses(train=[0.4, float("nan"), 0.8], val=[1.0, 1.0, 1.0]),
        Losses(train=[0.4, 0.6, 0.8], val=[1.0, float("inf"), 1.0]),
    ],
    ids=["nothing generalises", "nan", "inf"],
)
def test_else_the_weights_stay(after):
    assert blending_weights(BEFORE, after, [0.5, 0.3, 0.2]) == [0.5, 0.3, 0.2]


def test_no_growth_of_overfitting_is_the_floor():
    after = Losses(train=[0.5, 0.9, 0.8], val=[1.0, 1.0, 1.0])
    weights = blending_weights(BEFORE, after, EQUAL, least_overfitting=0.05)
    ratios = [0.5 / 0.05**2, 0.2 / 0.1**2, 0.1 / 0.1**2]
    assert weights == pytest.approx([ratio / sum(ratios) for ratio in ratios])


def test_weights_of_some_are_scaled_and_never_all_zero():
    assert weights_within([0.2, 0.3, 0.5], [True, False, True]) == pytest.approx([2 / 7, 0, 5 / 7])
    assert weights_within([1.0, 0.0, 0.0], [False, True, True]) == [0.0, 0.5, 0.5]
    assert weights_within([0.0, 0.0, 0.0], [False, False, True]) == [0.0, 0.0, 1.0]
