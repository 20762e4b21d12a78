import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from inforeg_lightning.report import mean_interval, paired_difference

accuracies = st.lists(st.floats(0, 1), min_size=2, max_size=12)


def test_interval_of_known_numbers():
    interval = mean_interval([1.0, 2.0, 3.0])
    assert (interval.mean, interval.n) == (2.0, 3)
    # t quantile of 2 degrees of freedom at 0.975, from a printed table
    assert interval.half_width == pytest.approx(4.303 / math.sqrt(3), rel=1e-4)


@given(accuracies.filter(lambda values: max(values) - min(values) > 1e-6))
def test_interval_is_scipys(values):
    interval = mean_interval(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((low, high))


def test_one_value_has_no_interval():
    interval = mean_interval([0.5])
    assert (interval.mean, interval.low, interval.high, interval.half_width) == (
        0.5,
        None,
        None,
        None,
    )


def test_no_value_is_an_error():
    with pytest.raises(ValueError, match="values is empty"):
        mean_interval([])


@given(accuracies, st.data())
def test_difference_is_scipys_paired_interval(values, data):
    other = data.draw(st.lists(st.floats(0, 1), min_size=len(values), max_size=len(values)))
    differences = [a - b for a, b in zip(values, other, strict=True)]
    found = paired_difference(dict(enumerate(values)), dict(enumerate(other)))
    if max(differences) - min(differences) > 1e-6:
        low, high = stats.ttest_rel(values, other).confidence_interval(0.95)
        assert (found.low, found.high) == pytest.approx((low, high))


def test_difference_is_over_common_seeds_only():
    found = paired_difference({0: 0.5, 1: 0.7, 5: 9.0}, {1: 0.6, 0: 0.5, 7: 9.0})
    assert (found.n, found.mean) == (2, pytest.approx(0.05))
    assert paired_difference({0: 0.5}, {1: 0.5}) is None
