import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inforeg_lightning.core.fisher import mean_square, relative_change, squared_norm

shapes = st.lists(
    st.lists(st.integers(1, 4), min_size=0, max_size=4).map(tuple), min_size=1, max_size=6
)


def draw(shapes, seed, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes]


def test_by_hand():
    gradients = [torch.tensor([[1.0, 2.0], [0.0, 2.0]]), torch.tensor(3.0)]
    assert squared_norm(gradients).item() == pytest.approx(18.0)
    assert mean_square(gradients).item() == pytest.approx(9 / 4 + 9)


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 2**31))
def test_against_sums_over_single_numbers(shapes, seed):
    gradients = draw(shapes, seed)
    squares = [[x * x for x in g.flatten().tolist()] for g in gradients]
    assert squared_norm(gradients).item() == pytest.approx(
        math.fsum(x for layer in squares for x in layer), rel=1e-12
    )
    assert mean_square(gradients).item() == pytest.approx(
        math.fsum(math.fsum(layer) / len(layer) for layer in squares), rel=1e-12
    )


@settings(max_examples=30, deadline=None)
@given(shapes, st.integers(0, 2**31), st.randoms())
def test_the_order_and_the_cut_of_the_parameters_do_not_matter(shapes, seed, random):
    gradients = draw(shapes, seed)
    whole = squared_norm([torch.cat([g.flatten() for g in gradients])]).item()
    random.shuffle(gradients)
    assert squared_norm(gradients).item() == pytest.approx(whole, rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("trace", [squared_norm, mean_square])
def test_half_precision_does_not_overflow(trace, dtype):
    gradients = [torch.full((4,), 2.0**10, dtype=dtype)] * 3
    found = trace(gradients)
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert found.shape == ()
    assert found.item() == pytest.approx((12 if trace is squared_norm else 3) * 2.0**20, rel=1e-6)


@pytest.mark.parametrize("trace", [squared_norm, mean_square])
def test_what_is_not_finite_shows(trace):
    for bad in (math.nan, math.inf, -math.inf):
        assert not trace([torch.tensor([0.0, bad]), torch.ones(2)]).isfinite()


@pytest.mark.parametrize("trace", [squared_norm, mean_square])
def test_the_gradients_are_left_as_they_were(trace):
    gradients = draw([(3, 2), (4,)], seed=0)
    before = [g.clone() for g in gradients]
    trace(gradients)
    assert all(torch.equal(g, b) for g, b in zip(gradients, before, strict=True))


def test_relative_change_by_hand():
    assert relative_change(2.0, 1.0) == 0.5
    assert relative_change(1.0, 2.0) == -1.0
    assert relative_change(1.0, 0.0) == 1.0
    assert relative_change(0.0, 1.0) == 0.0
    assert relative_change(0.0, 0.0) == 0.0


@settings(max_examples=200, deadline=None)
@given(*[st.floats(0, allow_infinity=False, allow_subnormal=True)] * 2)
def test_relative_change_is_finite_and_at_most_one(newest, previous):
    change = relative_change(newest, previous)
    assert math.isfinite(change)
    assert change <= 1.0
    if newest > previous:
        assert change >= 0.0
    elif newest < previous:
        assert change <= 0.0


@settings(max_examples=100, deadline=None)
@given(st.floats(1e-100, 1e100), st.floats(1e-100, 1e100), st.integers(-50, 50))
def test_relative_change_does_not_depend_on_the_unit(newest, previous, power):
    unit = 2.0**power
    assert relative_change(newest * unit, previous * unit) == relative_change(newest, previous)


@pytest.mark.parametrize("trace", [squared_norm, mean_square])
def test_gradients_of_mixed_precision(trace):
    mixed = [torch.full((4,), 2.0, dtype=d) for d in (torch.bfloat16, torch.float32, torch.float64)]
    for gradients in (mixed, mixed[::-1]):
        assert trace(gradients).item() == (48.0 if trace is squared_norm else 12.0)
        assert trace(gradients).dtype == torch.float64
