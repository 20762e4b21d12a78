"""Who the accuracy of a fused model is owed to: Shapley shares, exact or over sampled orders."""

from collections.abc import Mapping, Sequence
from itertools import combinations, pairwise
from math import factorial
from typing import Any

import numpy as np

from inforeg_lightning.diagnosis.intervals import Array, Estimate, estimate

_PAIRS = 8
"""Sampled orders, each with its reverse: about as many subsets as 7 modalities have in all."""


def orders_of(names: Sequence[str]) -> list[tuple[str, ...]]:
    """The orders that stand for all where there are too many, always the same, each and reversed.

    What a modality adds late and what it adds early are averaged in each such pair, which varies
    less from pair to pair than single orders do (Mitchell et al., 2022).
    """
    rng = np.random.default_rng(0)
    drawn = [tuple(names[i] for i in rng.permutation(len(names))) for _ in range(_PAIRS)]
    return [order for one in drawn for order in (one, one[::-1])]


def subsets_of(names: Sequence[str], exact_up_to: int) -> list[tuple[str, ...]]:
    """The proper subsets that shares are computed from, each in the order of ``names``.

    Args:
        names: All modalities.
        exact_up_to: Up to so many modalities all subsets, beyond those of :func:`orders_of`.
    """
    if len(names) <= exact_up_to:
        return [kept for size in range(len(names)) for kept in combinations(names, size)]
    found = {frozenset(order[:size]) for order in orders_of(names) for size in range(len(names))}
    return sorted((tuple(m for m in names if m in kept) for kept in found), key=_by_size)


def shapley(values: Mapping[frozenset[str], Array], names: Sequence[str]) -> dict[str, Array]:
    """Exact Shapley shares: what each name adds, on average over the orders in which all may come.

    Args:
        values: Every subset, the empty one too -> its value, arrays of one shape.
        names: All of them.
    """
    every = len(names)
    shares = {}
    for name in names:
        total: Any = 0.0
        for subset in (s for s in values if name not in s):
            weight = factorial(len(subset)) * factorial(every - len(subset) - 1) / factorial(every)
            total = total + weight * (values[subset | {name}] - values[subset])
        shares[name] = total
    return shares


def shapley_interactions(
    values: Mapping[frozenset[str], Array], names: Sequence[str]
) -> dict[tuple[str, str], Array]:
    """Exact Shapley interaction of each pair: what both add beyond what each adds (Grabisch 1999).

    Negative where they say the same, positive where they say something only together.
    """
    every, found = len(names), {}
    for one, other in combinations(names, 2):
        total: Any = 0.0
        for subset in (s for s in values if one not in s and other not in s):
            weight = (
                factorial(len(subset)) * factorial(every - len(subset) - 2) / factorial(every - 1)
            )
            both = values[subset | {one, other}] + values[subset]
            total = total + weight * (both - values[subset | {one}] - values[subset | {other}])
        found[one, other] = total
    return found


def sampled_shapley(
    values: Mapping[frozenset[str], Array], names: Sequence[str]
) -> dict[str, Estimate]:
    """Shapley shares over the orders of :func:`orders_of`, which are estimates.

    Args:
        values: Subset -> its value, shape ``(S, N)``: seeds and test samples.
        names: All modalities.

    Returns:
        Shares whose 95 % intervals are over samples, seeds and orders at once: the variance
        between pairs of orders is added to that of :func:`estimate`.
    """
    from scipy import stats

    added: dict[str, list[Array]] = {name: [] for name in names}
    for order in orders_of(names):
        prefixes = [frozenset(order[:size]) for size in range(len(names) + 1)]
        for name, (before, after) in zip(order, pairwise(prefixes), strict=True):
            added[name].append(values[after] - values[before])
    found = {}
    for name, parts in added.items():
        share = estimate(np.mean(parts, axis=0))
        pairs = np.array([x.mean() for x in parts]).reshape(_PAIRS, 2).mean(axis=1)
        of_orders = stats.t.ppf(0.975, _PAIRS - 1) * pairs.std(ddof=1) / _PAIRS**0.5
        half = float(np.hypot(share.high - share.value, of_orders))
        found[name] = Estimate(share.value, share.value - half, share.value + half)
    return found


def _by_size(kept: tuple[str, ...]) -> tuple[int, tuple[str, ...]]:
    return len(kept), kept
