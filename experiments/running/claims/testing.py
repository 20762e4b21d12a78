"""The tests by which claims are decided: paired, in the direction that is claimed, by Holm."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import stats

from inforeg_lightning.report import Interval, mean_interval

LEVEL = 0.05
Rows = Mapping[str, Mapping[str, Any]]
"""Row -> what ``claims.json`` keeps of it."""


@dataclass(frozen=True)
class Test:
    """One hypothesis and what the seeds say of it.

    Attributes:
        name: As in the protocol.
        text: What is claimed.
        p: Two-sided, not adjusted.
        is_claimed: Whether the numbers lie in the direction that is claimed.
        effect: d_z, or Kendall's W.
        interval: Of the mean difference; ``None`` for Friedman's test.
        scale: By which the interval is multiplied to be shown: 100 for accuracies.
        adjusted: By Holm's method over the family.
    """

    name: str
    text: str
    p: float
    is_claimed: bool
    effect: float
    interval: Interval | None = None
    scale: float = 100.0
    adjusted: float = 1.0

    @property
    def accepted(self) -> bool:
        """Whether the hypothesis is accepted."""
        return self.is_claimed and self.adjusted < LEVEL


def values(rows: Rows, row: str, quantity: str) -> list[float]:
    """The values of a row, by seed; an accuracy, a probe, or what was measured while training.

    Raises:
        KeyError: There is no such row or quantity.
    """
    found: list[float] = {**rows[row]["measured"], **rows[row]["test"]}[quantity]
    return found


def above_zero(name: str, text: str, differences: Sequence[float], scale: float = 100.0) -> Test:
    """That a mean difference is above 0: a paired t test over the seeds."""
    interval = mean_interval([*differences])
    spread = float(np.std(differences, ddof=1))
    if spread < 1e-12:  # no spread, of which the test would warn
        p, effect = (
            (1.0, 0.0) if interval.mean == 0 else (0.0, math.copysign(math.inf, interval.mean))
        )
    else:
        p, effect = float(stats.ttest_1samp(differences, 0.0).pvalue), interval.mean / spread
    return Test(name, text, p, interval.mean > 0, effect, interval, scale)


def within(name: str, text: str, found: Sequence[float], bound: float) -> Test:
    """That a mean lies within ± ``bound``: two one-sided t tests, the larger p of both."""
    interval, spread = mean_interval([*found]), float(np.std(found, ddof=1))
    sides = [
        float(stats.ttest_1samp(found, -bound, alternative="greater").pvalue),
        float(stats.ttest_1samp(found, bound, alternative="less").pvalue),
    ]
    effect = (bound - abs(interval.mean)) / spread if spread else float("inf")
    return Test(name, text, max(sides), abs(interval.mean) < bound, effect, interval, 1.0)


def differ(name: str, text: str, columns: Mapping[float, Sequence[float]], best: float) -> Test:
    """That a parameter matters (Friedman), with the highest mean at the value that is claimed.

    Args:
        name: As in the protocol.
        text: What is claimed.
        columns: Value of the parameter -> accuracy by seed.
        best: The value that is claimed to be the best.
    """
    means = {value: float(np.mean(of)) for value, of in columns.items()}
    table = np.array([*columns.values()])
    if (table == table[:1]).all():  # which Friedman's test cannot rank
        return Test(name, text, 1.0, False, 0.0)
    found = stats.friedmanchisquare(*table)
    seeds, count = table.shape[1], len(columns)
    agreement = float(found.statistic) / (seeds * (count - 1))
    return Test(name, text, float(found.pvalue), means[best] == max(means.values()), agreement)


def adjusted(tests: Sequence[Test], family: int) -> list[Test]:
    """The same tests with their p-values adjusted by Holm's method.

    Args:
        tests: Those that can be made.
        family: How many there are in the protocol. One that cannot be made yet counts with a p of
            1, so that what is accepted stays so when its rows are there.
    """
    from statsmodels.stats.multitest import multipletests

    if not tests:
        return []
    every = [test.p for test in tests] + [1.0] * (family - len(tests))
    found = multipletests(every, method="holm")[1][: len(tests)]
    return [replace(test, adjusted=float(p)) for test, p in zip(tests, found, strict=True)]
