import copy
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from inforeg_lightning.core import regulation
from inforeg_lightning.core.regulation import pull

shapes = st.lists(
    st.lists(st.integers(1, 4), min_size=0, max_size=3).map(tuple), min_size=1, max_size=6
)
alphas = st.just(0.0) | st.floats(0.01, 80)


def draw(shapes, seed, dtype=torch.float64):
    """Weights, gradients and anchors."""
    generator = torch.Generator().manual_seed(seed)
    weights, gradients, anchors = (
        [torch.randn(s, generator=generator, dtype=torch.float64).to(dtype) for s in shapes]
        for _ in range(3)
    )
    return [nn.Parameter(w) for w in weights], gradients, anchors


def test_by_hand():
    weights = [nn.Parameter(torch.tensor([3.0, 1.0])), nn.Parameter(torch.tensor(0.0))]
    gradients = [torch.tensor([10.0, 20.0]), torch.tensor(30.0)]
    anchors = [torch.tensor([1.0, 1.0]), torch.tensor(4.0)]
    penalty = pull(weights, gradients, anchors, torch.tensor(0.5))
    assert gradients[0].tolist() == [11.0, 20.0]
    assert gradients[1].item() == 28.0
    assert penalty.item() == pytest.approx(0.25 * (4 + 16))
    assert penalty.shape == ()


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 2**31), alphas)
def test_it_is_the_gradient_that_autograd_gives_the_penalty(shapes, seed, alpha):
    weights, gradients, anchors = draw(shapes, seed)
    before = copy.deepcopy((weights, gradients, anchors))
    alpha = torch.tensor(alpha, dtype=torch.float64)
    penalty = pull(weights, gradients, anchors, alpha)

    expected = (
        0.5 * alpha * sum(((w - a) ** 2).sum() for w, a in zip(weights, anchors, strict=True))
    )
    torch.testing.assert_close(penalty, expected.detach(), rtol=1e-12, atol=1e-300)
    added = torch.autograd.grad(expected, weights)
    for found, start, more in zip(gradients, before[1], added, strict=True):
        torch.testing.assert_close(found, start + more, rtol=1e-13, atol=1e-13)
    for name, ours, theirs in zip("wa", (weights, anchors), before[::2], strict=True):
        assert all(torch.equal(x, y) for x, y in zip(ours, theirs, strict=True)), name


@settings(max_examples=60, deadline=None)
@given(
    shapes,
    st.integers(0, 2**31),
    alphas,
    st.floats(0, 1),
    st.sampled_from([torch.float32, torch.float64]),
)
def test_the_pull_moves_a_weight_only_along_the_segment_to_its_anchor(
    shapes, seed, alpha, fraction, dtype
):
    weights, _, anchors = draw(shapes, seed, dtype)
    gradients = [torch.zeros_like(w) for w in weights]
    pull(weights, gradients, anchors, torch.tensor(alpha, dtype=dtype))
    rate = fraction / alpha if alpha > 0 else fraction  # rate · α <= 1
    for w, gradient, anchor in zip(weights, gradients, anchors, strict=True):
        after = w.detach() - rate * gradient
        low, high = torch.minimum(w.detach(), anchor), torch.maximum(w.detach(), anchor)
        rounding = 8 * torch.finfo(dtype).eps * (1 + w.detach().abs() + anchor.abs())
        assert (after >= low - rounding).all()
        assert (after <= high + rounding).all()


@settings(max_examples=30, deadline=None)
@given(shapes, st.integers(0, 2**31))
def test_no_strength_and_no_distance_change_no_gradient(shapes, seed):
    weights, gradients, anchors = draw(shapes, seed)
    before = [g.clone() for g in gradients]
    assert pull(weights, gradients, anchors, torch.tensor(0.0)).item() == 0.0
    here = [w.detach().clone() for w in weights]
    assert pull(weights, gradients, here, torch.tensor(2.0)).item() == 0.0
    assert all(torch.equal(g, b) for g, b in zip(gradients, before, strict=True))


@settings(max_examples=30, deadline=None)
@given(shapes, st.integers(0, 2**31), st.integers(1, 40))
def test_the_chunks_do_not_matter(shapes, seed, elements):
    weights, gradients, anchors = draw(shapes, seed)
    others = [g.clone() for g in gradients]
    alpha = torch.tensor(0.7, dtype=torch.float64)
    whole = pull(weights, gradients, anchors, alpha)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(regulation, "_CHUNK_ELEMENTS", elements)
        in_chunks = pull(weights, others, anchors, alpha)
    torch.testing.assert_close(in_chunks, whole, rtol=1e-13, atol=0)
    assert all(torch.equal(g, o) for g, o in zip(gradients, others, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_weights_keep_their_type_and_the_penalty_its_range(dtype):
    weights = [nn.Parameter(torch.full((1000,), 300.0, dtype=dtype))]
    gradients, anchors = [torch.zeros(1000, dtype=dtype)], [torch.zeros(1000, dtype=dtype)]
    penalty = pull(weights, gradients, anchors, torch.tensor(2.0))
    assert gradients[0].dtype == dtype
    assert gradients[0].tolist() == [600.0] * 1000
    assert penalty.dtype == torch.float32
    assert penalty.item() == pytest.approx(9e7, rel=1e-3)


def test_nothing_is_recorded_for_autograd():
    weights, gradients, anchors = draw([(3,)], seed=0)
    assert not pull(weights, gradients, anchors, torch.tensor(1.0)).requires_grad
    assert not gradients[0].requires_grad


def test_the_natural_scale_freezes_an_encoder_near_its_anchor():
    # ρ = α · lr · steps: what is left of the distance after the steps is about exp(−ρ).
    w, anchor = nn.Parameter(torch.tensor([1.0], dtype=torch.float64)), torch.zeros(1).double()
    alpha, rate, steps = 1.5, 0.01, 200
    for _ in range(steps):
        gradient = [torch.zeros(1, dtype=torch.float64)]
        pull([w], gradient, [anchor], torch.tensor(alpha, dtype=torch.float64))
        with torch.no_grad():
            w -= rate * gradient[0]
    assert w.item() == pytest.approx(math.exp(-alpha * rate * steps), rel=0.05)


@pytest.mark.parametrize("of_alpha", [torch.float32, torch.float64])
@pytest.mark.parametrize("of_weights", [torch.bfloat16, torch.float32, torch.float64])
def test_scores_and_weights_may_be_of_different_precision(of_alpha, of_weights):
    weights, gradients, anchors = draw([(3,), (2, 2)], seed=0, dtype=of_weights)
    penalty = pull(weights, gradients, anchors, torch.tensor(0.5, dtype=of_alpha))
    assert penalty.dtype == torch.promote_types(of_alpha, of_weights)
    expected = 0.25 * sum(
        ((w - a) ** 2).sum().item() for w, a in zip(weights, anchors, strict=True)
    )
    assert penalty.item() == pytest.approx(expected, rel=0.02)
