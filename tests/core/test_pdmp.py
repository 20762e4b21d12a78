"""The coefficients of PDMP, by hand."""

import pytest

from inforeg_lightning.core import pdmp_coefficients


def test_the_best_gets_the_larger_one():
    assert pdmp_coefficients([0.3, 0.9, 0.5], 2.0, 0.5) == [0.5, 2.0, 0.5]
    assert pdmp_coefficients([-1.0, -2.0], 1.5, 0.0) == [1.5, 0.0]


def test_two_that_are_best_are_refused():
    with pytest.raises(ValueError, match=r"but several have 0\.7"):
        pdmp_coefficients([0.7, 0.1, 0.7], 2.0, 0.5)
