"""A measured number with its interval, over test samples and over seeds at once."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

ONE_SEED = 0.025
"""The standard deviation between seeds that a single seed is given, which cannot show its own:
three quarters of the numbers of all worlds of ``python experiments/study.py truth`` have less."""


_KNOWN = 1000
"""Degrees of freedom of a spread that is given, not estimated."""


@dataclass(frozen=True)
class Estimate:
    """A number and its 95 % interval, in the unit of a share (0.01 is one point).

    Attributes:
        value: The number.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """The number in points, with its interval."""
        return f"{_points(self.value)} ({_points(self.low)} to {_points(self.high)})"

    @property
    def percent(self) -> str:
        """The number as a share in percent, with its interval."""
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})"

    def to_dict(self) -> dict[str, float]:
        """Plain data for JSON."""
        return {name: round(value, 5) for name, value in asdict(self).items()}


def estimate(values: Array, confidence: float = 0.95) -> Estimate:
    """Mean of a quantity that every seed has for every test sample, with a t interval.

    Samples and seeds are crossed: what varies between samples is alike in all seeds, and what
    varies between seeds is alike in all samples. So the variance of the mean is estimated as
    ``v = var over samples / N + var over seeds / S`` of the respective means, and the degrees of
    freedom by Welch and Satterthwaite. Where samples dominate, the interval is that of a large
    test set; where seeds do, it is as wide as few seeds deserve. A single seed is given
    :data:`ONE_SEED`.

    Args:
        values: Shape ``(S, N)``.
        confidence: Coverage of the interval.
    """
    from scipy import stats

    values = np.asarray(values, dtype=float)
    seeds, samples = values.shape
    mean = float(values.mean())
    of_samples = float(values.mean(axis=0).var(ddof=1)) / samples if samples > 1 else 0.0
    of_seeds = ONE_SEED**2 if seeds == 1 else 0.0
    if seeds > 1:
        # The mean of a seed varies by its samples too, which are counted already.
        within = float((values - values.mean(axis=0)).var(axis=1).mean()) / samples
        of_seeds = max(float(values.mean(axis=1).var(ddof=1)) - within, 0.0) / seeds
    total = of_samples + of_seeds
    if total == 0.0:
        return Estimate(mean, mean, mean)
    of_the_spread = seeds - 1 if seeds > 1 else _KNOWN
    freedom = total**2 / (of_samples**2 / max(samples - 1, 1) + of_seeds**2 / of_the_spread)
    half = float(stats.t.ppf((1 + confidence) / 2, freedom)) * total**0.5
    return Estimate(mean, mean - half, mean + half)


def _points(value: float) -> str:
    return f"{100 * value:+.1f}"
