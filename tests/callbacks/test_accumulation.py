"""Accumulated micro-batches are the large batch."""

import pytest

from helpers.comparison import assert_close, assert_opens_and_closes
from helpers.modules import Late, make_batches
from helpers.regulated import fit, inforeg


@pytest.fixture(scope="module")
def large():
    result = fit(Late(batches=make_batches(size=16)), inforeg())
    assert_opens_and_closes(result["history"])
    return result


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_accumulated_batches_are_the_large_batch(large, parts):
    size = 16 // parts
    batches = [
        {key: value[part * size : (part + 1) * size] for key, value in batch.items()}
        for batch in make_batches(size=16)
        for part in range(parts)
    ]
    small = fit(Late(batches=batches), inforeg(), accumulate_grad_batches=parts)
    assert_close(small, large)
    assert [entry["steps"] for entry in small["history"]] == [4] * 6


def test_batches_left_over_at_the_end_of_an_epoch_make_a_step_of_their_own():
    result = fit(Late(batches=make_batches(batches=5)), inforeg(), accumulate_grad_batches=2)
    assert [entry["steps"] for entry in result["history"]] == [3] * 6
