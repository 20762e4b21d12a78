import itertools

import pytest
import torch

from inforeg_lightning.core.agm import shapley_outputs, subsets

NAMES = ["a", "v", "t", "d"]


def outputs_of(names, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {s: torch.randn(5, 3, generator=generator, dtype=torch.float64) for s in subsets(names)}


def test_all_subsets_but_the_empty_one():
    assert [*subsets(["a", "v"])] == [{"a"}, {"v"}, {"a", "v"}]
    assert len([*subsets(NAMES)]) == 15


def test_two_modalities_are_the_authors_formula():
    f = outputs_of(["a", "v"])
    a, v, both = f[frozenset("a")], f[frozenset("v")], f[frozenset("av")]
    shares = shapley_outputs(f, ["a", "v"])
    torch.testing.assert_close(shares["a"], 0.5 * (both - v + a))
    torch.testing.assert_close(shares["v"], 0.5 * (both - a + v))


@pytest.mark.parametrize("modalities", [2, 3, 4])
def test_they_are_the_mean_over_orders_and_add_up(modalities):
    names = NAMES[:modalities]
    f = outputs_of(names)
    nothing = torch.randn(5, 3, dtype=torch.float64)  # drops out, whatever it is
    of = {frozenset(): nothing, **f}
    shares = shapley_outputs(f, names)
    for name in names:
        added = []
        for order in itertools.permutations(names):
            before = frozenset(order[: order.index(name)])
            added.append(of[before | {name}] - of[before])
        expected = sum(added) / len(added) + nothing / modalities
        torch.testing.assert_close(shares[name], expected)
    torch.testing.assert_close(sum(shares.values()), f[frozenset(names)])
