"""Rows against one baseline, paired by seed, corrected for the number of comparisons."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from inforeg_lightning.report import Interval, paired_difference

BySeed = Mapping[int, float]


@dataclass(frozen=True)
class Contrast:
    """One row against the baseline.

    Attributes:
        difference: Mean paired difference, with an interval that holds for all rows at once.
        p: Of the paired t test, adjusted by Holm's method.
        effect: Mean difference over the standard deviation of the differences (Cohen's d_z).
    """

    difference: Interval
    p: float
    effect: float

    def verdict(self, level: float = 0.05) -> str:
        """``"gains"``, ``"loses"`` or ``"undecided"``, by the adjusted test."""
        if not self.p < level:
            return "undecided"
        return "gains" if self.difference.mean > 0 else "loses"


def contrasts(
    rows: Mapping[str, BySeed], baseline: str, confidence: float = 0.95
) -> dict[str, Contrast]:
    """Compare every other row with the baseline.

    The intervals are Student's at ``1 − (1 − confidence) / m`` (Bonferroni), for ``m`` rows.

    Args:
        rows: Row -> seed -> value; every row has the seeds of the baseline, at least two.
        baseline: The row that the others are compared with.
        confidence: Of all intervals together.

    Raises:
        ValueError: A row lacks a seed, or there are fewer than two.
    """
    seeds = sorted(rows[baseline])
    if len(seeds) < 2:
        raise ValueError(f"rows must have at least 2 seeds to be compared, got {len(seeds)}")
    others = [name for name in rows if name != baseline]
    for name in others:
        if sorted(rows[name]) != seeds:
            raise ValueError(
                f"rows[{name!r}] must have the seeds {seeds}, got {sorted(rows[name])}"
            )
    if not others:
        return {}
    each = 1 - (1 - confidence) / len(others)
    differences = {n: _differences(rows[n], rows[baseline], seeds) for n in others}
    adjusted = adjusted_p([*differences.values()])
    compared = {}
    for name, p in zip(others, adjusted, strict=True):
        interval = paired_difference(rows[name], rows[baseline], each)
        assert interval is not None  # the seeds are common
        spread = float(np.std(differences[name], ddof=1))
        effect = interval.mean / spread if spread else 0.0 if interval.mean == 0 else float("inf")
        compared[name] = Contrast(interval, float(p), effect)
    return compared


def adjusted_p(differences: Sequence[Sequence[float]]) -> list[float]:
    """The p of a paired t test of each row of differences, adjusted by Holm's method."""
    from statsmodels.stats.multitest import multipletests

    return list(map(float, multipletests([_p(of) for of in differences], method="holm")[1]))


def mean_ranks(rows: Mapping[str, BySeed]) -> tuple[dict[str, float], float]:
    """Each row's mean rank over the seeds (1 is the highest value), and Friedman's p.

    Raises:
        ValueError: There are fewer than three rows, which the test needs.
    """
    if len(rows) < 3:
        raise ValueError(f"rows must be at least 3 to be ranked, got {len(rows)}")
    seeds = sorted(set.intersection(*(set(of) for of in rows.values())))
    values = np.array([[of[seed] for seed in seeds] for of in rows.values()])
    ranks = stats.rankdata(-values, axis=0).mean(axis=1)
    p = stats.friedmanchisquare(*values).pvalue
    return dict(zip(rows, ranks.tolist(), strict=True)), float(p)


def _differences(row: BySeed, baseline: BySeed, seeds: Sequence[int]) -> list[float]:
    return [row[seed] - baseline[seed] for seed in seeds]


def _p(differences: Sequence[float]) -> float:
    if np.ptp(differences) == 0:  # no spread, of which the test would warn
        return 1.0 if differences[0] == 0 else 0.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)
