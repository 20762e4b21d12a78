import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from inforeg_lightning.core.strength import GAPS, gaps, official_strength, strength

# Multiples of 1/64: their sums and differences are exact, so that ties stay ties.
grid = st.integers(-(10**6), 10**6).map(lambda n: n / 64)
scores_on_grid = st.lists(grid, min_size=2, max_size=16)
betas = st.floats(0, 80)
kinds = st.sampled_from(GAPS)


def as_tensor(scores):
    return torch.tensor(scores, dtype=torch.float64)


def literal_gaps(scores, over="weaker"):
    """Eq. 9 and 10, and our two other gaps, term by term."""
    result = []
    for index, mine in enumerate(scores):
        others = [other for place, other in enumerate(scores) if place != index]
        if over == "strongest":
            result.append(max(mine - max(others), 0.0))
            continue
        lead = [mine - other for other in others if other < mine or over == "others"]
        result.append(max(sum(lead) / len(lead), 0.0) if lead else 0.0)
    return result


def test_by_hand():
    assert gaps(as_tensor([-1.0, -0.25])).tolist() == [0.0, 0.75]
    assert gaps(as_tensor([3.0, 1.0, 0.0])).tolist() == [2.5, 1.0, 0.0]
    assert gaps(as_tensor([2.0, 2.0, 1.0])).tolist() == [1.0, 1.0, 0.0]
    assert gaps(as_tensor([5.0, 5.0])).tolist() == [0.0, 0.0]
    assert gaps(as_tensor([3.0, 1.0, 0.0]), "others").tolist() == [2.5, 0.0, 0.0]
    assert gaps(as_tensor([3.0, 2.0, 0.0]), "others").tolist() == [2.0, 0.5, 0.0]
    assert gaps(as_tensor([3.0, 1.0, 0.0]), "strongest").tolist() == [2.0, 0.0, 0.0]
    assert gaps(as_tensor([2.0, 2.0, 1.0]), "strongest").tolist() == [0.0, 0.0, 0.0]
    alpha = strength(as_tensor([0.0, 0.5]), beta=0.9)
    assert alpha.tolist() == [0.0, pytest.approx(math.exp(0.9 * math.tanh(0.5)), rel=1e-15)]


def test_the_published_strength_by_hand():
    alpha = official_strength(as_tensor([4.0, 3.5]), factors=(0.95, 0.1)).tolist()
    assert alpha == [pytest.approx(0.95 * math.exp(math.tanh(0.5)), rel=1e-15), 0.0]
    alpha = official_strength(as_tensor([3.5, 4.0]), factors=(0.95, 0.1)).tolist()
    assert alpha == [0.0, pytest.approx(0.1 * math.exp(math.tanh(0.5)), rel=1e-15)]
    assert official_strength(as_tensor([1.0, 1.0]), factors=(0.95, 0.1)).tolist() == [0.0, 0.0]
    alpha = official_strength(as_tensor([3.0, 1.0, 0.0]), factors=(1, 2, 3)).tolist()
    assert alpha == [pytest.approx(math.exp(math.tanh(2.5)), rel=1e-15), 0.0, 0.0]


@settings(max_examples=100, deadline=None)
@given(scores_on_grid, kinds)
def test_gaps_are_those_of_the_double_loop(scores, over):
    expected = literal_gaps(scores, over)
    assert gaps(as_tensor(scores), over).tolist() == pytest.approx(expected, rel=1e-13, abs=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.tuples(grid, grid))
def test_with_two_modalities_all_gaps_are_equal(scores):
    found = [gaps(as_tensor(scores), over).tolist() for over in GAPS]
    assert found[0] == found[1] == found[2]


@settings(max_examples=100, deadline=None)
@given(scores_on_grid, kinds, st.data())
def test_a_modality_without_a_score_is_as_if_it_were_not_there(scores, over, data):
    place = data.draw(st.integers(0, len(scores)))
    without = gaps(as_tensor(scores), over).tolist()
    found = gaps(as_tensor([*scores[:place], math.nan, *scores[place:]]), over).tolist()
    assert found == [*without[:place], 0.0, *without[place:]]
    alone = gaps(as_tensor([scores[0], math.nan]), over).tolist()
    assert alone == [0.0, 0.0]


def test_an_unknown_gap_is_refused():
    with pytest.raises(
        ValueError, match=r"`over` must be one of .*'weaker', 'others', 'strongest'"
    ):
        gaps(as_tensor([1.0, 0.0]), "all")


@settings(max_examples=100, deadline=None)
@given(scores_on_grid, kinds, betas, st.integers(-1000, 1000))
def test_adding_a_constant_to_all_scores_changes_nothing(scores, over, beta, constant):
    here, there = gaps(as_tensor(scores), over), gaps(as_tensor(scores) + constant, over)
    assert torch.equal(here, there)
    assert torch.equal(strength(here, beta), strength(there, beta))


@settings(max_examples=100, deadline=None)
@given(scores_on_grid, kinds, betas, st.randoms())
def test_reordering_the_modalities_reorders_the_strengths(scores, over, beta, random):
    order = [*range(len(scores))]
    random.shuffle(order)
    factors = [index / 4 for index in range(len(scores))]
    shuffled = as_tensor(scores)[order]
    found, expected = gaps(shuffled, over), gaps(as_tensor(scores), over)[order]
    assert torch.equal(found, expected)
    assert torch.equal(strength(found, beta), strength(expected, beta))
    assert torch.equal(
        official_strength(shuffled, [factors[index] for index in order]),
        official_strength(as_tensor(scores), factors)[order],
    )


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(-1e300, 1e300), min_size=2, max_size=16),
    st.floats(0, 80),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_alpha_is_within_its_bounds_and_the_weakest_is_never_touched(scores, beta, dtype):
    scores = torch.tensor(scores, dtype=torch.float64).clamp(-1e30, 1e30).to(dtype)
    gap = gaps(scores)
    alpha = strength(gap, beta)
    assert alpha.isfinite().all()
    assert (alpha[scores == scores.min()] == 0).all()
    regulated = scores > scores.min()
    assert ((gap > 0) == regulated).all()
    a_few_roundings = 1 + (4 + beta) * torch.finfo(dtype).eps
    assert (alpha[regulated] >= 1).all()
    assert (alpha[regulated] <= math.exp(beta) * a_few_roundings).all()


@settings(max_examples=100, deadline=None)
@given(scores_on_grid)
def test_the_published_strength_touches_the_strongest_only(scores):
    alpha = official_strength(as_tensor(scores), [1.0] * len(scores)).tolist()
    for mine, a in zip(scores, alpha, strict=True):
        if mine == max(scores) > min(scores):
            assert 1 <= a <= math.e * (1 + 1e-15)
        else:
            assert a == 0


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 100), st.floats(0, 100), st.floats(0, 5))
def test_a_wider_lead_is_never_held_back_less(one, other, beta):
    low, high = sorted([one, other])
    if low > 0:
        less, more = strength(as_tensor([low, high]), beta).tolist()
        assert less <= more


def test_the_smallest_gap_counts():
    tiny = as_tensor([5e-324, 0.0])
    assert gaps(tiny).tolist() == [5e-324, 0.0]
    assert strength(gaps(tiny), 0.9).tolist() == [1.0, 0.0]
