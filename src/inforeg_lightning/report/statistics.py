"""Means over seeds with an interval that says how little a few seeds tell."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        mean: The mean.
        low: Lower end, ``None`` for a single value: one number has no spread.
        high: Upper end, likewise.
        n: Number of values.
    """

    mean: float
    low: float | None
    high: float | None
    n: int

    @property
    def half_width(self) -> float | None:
        """Half the interval's width; Student's interval is symmetric."""
        return None if self.high is None else self.high - self.mean

    def to_dict(self) -> dict[str, float | int | None]:
        """Plain data for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Interval":
        """What :meth:`to_dict` gave, among whatever else the mapping holds."""
        low, high = content["low"], content["high"]
        return cls(
            float(content["mean"]),
            None if low is None else float(low),
            None if high is None else float(high),
            int(content["n"]),
        )


def mean_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Mean and Student's t interval, ``mean ± t_{n−1} s / √n``.

    Args:
        values: One or more values, assumed independent and about normal.
        confidence: Coverage of the interval, between 0 and 1.

    Raises:
        ValueError: There is no value.
    """
    if not values:
        raise ValueError("values is empty; a mean needs at least one value")
    mean, n = float(np.mean(values)), len(values)
    if n == 1:
        return Interval(mean, None, None, 1)
    quantile = stats.t.ppf((1 + confidence) / 2, n - 1)
    half = float(quantile * np.std(values, ddof=1) / np.sqrt(n))
    return Interval(mean, mean - half, mean + half, n)


def paired_difference(
    treated: Mapping[int, float], baseline: Mapping[int, float], confidence: float = 0.95
) -> Interval | None:
    """Mean of the differences by seed, with its interval.

    Runs of one seed share their initial weights and their order of batches, so that much of the
    spread between seeds cancels in the difference.

    Args:
        treated: Seed -> value.
        baseline: Seed -> value.
        confidence: Coverage of the interval.

    Returns:
        The interval over the seeds that both have, or ``None`` if they have none in common.
    """
    common = sorted(set(treated) & set(baseline))
    if not common:
        return None
    return mean_interval([treated[seed] - baseline[seed] for seed in common], confidence)
