import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from inforeg_lightning.core.scores import (
    at_least_float32,
    linear_unimodal_logits,
    log_probability,
    ordinal_levels,
    probability,
)

LOGITS = torch.tensor([[0.0, math.log(3.0)], [math.log(4.0), 0.0]], dtype=torch.float64)
TARGET = torch.tensor([1, 1])


def literal_log_probability(logits, target):
    rows = []
    for row, true in zip(logits.tolist(), target.tolist(), strict=True):
        highest = max(row)
        rows.append(row[true] - highest - math.log(math.fsum(math.exp(x - highest) for x in row)))
    return rows


def test_a_class_in_order_is_above_the_levels_below_it():
    found = ordinal_levels(torch.tensor([0, 2, 3]), 3)
    assert found.tolist() == [[False] * 3, [True, True, False], [True] * 3]


def test_by_hand():
    assert probability(LOGITS, TARGET).tolist() == pytest.approx([3 / 4, 1 / 5], rel=1e-14)
    assert log_probability(LOGITS, TARGET).tolist() == pytest.approx(
        [math.log(3 / 4), math.log(1 / 5)], rel=1e-14
    )


def test_larger_is_stronger():
    certain, unsure = torch.tensor([[5.0, 0.0]]), torch.tensor([[0.1, 0.0]])
    true = torch.tensor([0])
    assert log_probability(certain, true) > log_probability(unsure, true)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 5).flatmap(
        lambda classes: st.lists(
            st.tuples(
                st.lists(st.floats(-1e4, 1e4), min_size=classes, max_size=classes),
                st.integers(0, classes - 1),
            ),
            min_size=1,
            max_size=6,
        )
    )
)
def test_against_a_literal_version(rows):
    logits = torch.tensor([row for row, _ in rows], dtype=torch.float64)
    target = torch.tensor([true for _, true in rows])
    found = log_probability(logits, target)
    assert found.tolist() == pytest.approx(
        literal_log_probability(logits, target), rel=1e-12, abs=1e-11
    )
    assert (found <= 0).all()
    found = probability(logits, target)
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("score", [log_probability, probability])
def test_at_least_float32_and_finite_for_extreme_logits(score, dtype):
    logits = torch.tensor([[1e4, -1e4, 0.0]] * 3, dtype=dtype)
    found = score(logits, torch.tensor([0, 1, 2]))
    assert found.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    assert found.isfinite().all()
    assert found[0] == (0.0 if score is log_probability else 1.0)


def test_one_class_tells_nothing():
    assert log_probability(torch.tensor([[7.0]]), torch.tensor([0])).item() == 0.0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_only_half_precision_is_widened(dtype):
    assert at_least_float32(torch.ones(2, dtype=dtype)).dtype == torch.float32
    for wide in (torch.float32, torch.float64):
        x = torch.ones(2, dtype=wide)
        assert at_least_float32(x) is x


@settings(max_examples=40, deadline=None)
@given(
    widths=st.lists(st.integers(1, 5), min_size=1, max_size=6),
    batch=st.integers(1, 4),
    classes=st.integers(1, 4),
    has_bias=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_a_linear_head_is_split_exactly(widths, batch, classes, has_bias, seed):
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    weight, bias = draw(classes, sum(widths)), draw(classes) if has_bias else None
    features = {f"m{i}": draw(batch, width) for i, width in enumerate(widths)}
    split = linear_unimodal_logits(weight, bias, features)

    fused = F.linear(torch.cat([*features.values()], 1), weight, bias)
    torch.testing.assert_close(sum(split.values()), fused, rtol=0, atol=1e-12)
    start = 0
    for name, z in features.items():
        for b in range(batch):
            for c in range(classes):
                expected = math.fsum(
                    z[b, d].item() * weight[c, start + d].item() for d in range(z.shape[1])
                ) + (bias[c].item() / len(widths) if has_bias else 0.0)
                assert split[name][b, c].item() == pytest.approx(expected, abs=1e-12)
        start += z.shape[1]


def test_widths_that_do_not_add_up():
    with pytest.raises(ValueError, match=r"2 \+ 3 = 5 wide, but the linear head takes 6"):
        linear_unimodal_logits(
            torch.zeros(4, 6), None, {"a": torch.zeros(1, 2), "b": torch.zeros(1, 3)}
        )
