"""Simulated Fisher traces of which it is known, period by period, how much is learnt."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FLOOR = 0.05
"""What is left of a trace when nothing is learnt any more, of its peak: the noise of batches."""


@dataclass(frozen=True)
class Trace:
    """A trace, and what is right by construction.

    Attributes:
        shape: Its kind.
        seen: What a window is shown, ``(T,)``.
        learnt: What share of all that is learnt is learnt in each period, ``(T,)``, sum 1.
    """

    shape: str
    seen: Array
    learnt: Array


@dataclass(frozen=True)
class Made:
    """A noise-free trace.

    Attributes:
        signal: What is learnt per period; the trace of it.
        extra: Factor on the trace that has nothing to do with learning: an outlier, a cut rate.
    """

    signal: Array
    extra: Array | float = 1.0
    floor: Array | float = FLOOR


def draw(shape: str, noise: float, rng: np.random.Generator) -> Trace:
    """A trace of a kind.

    Args:
        shape: Of :data:`SHAPES`.
        noise: Standard deviation of the logarithm of the noise, which is independent per period.
        rng: Of the shape's parameters and the noise.
    """
    made = SHAPES[shape](rng)
    clean = (made.signal / made.signal.max() + made.floor) * made.extra
    seen = clean * np.exp(noise * rng.normal(size=len(clean)))
    return Trace(shape, seen, made.signal / made.signal.sum())


def _bump(periods: int, peak: float, decay: float) -> Array:
    """Rises as t up to its peak, then decays exponentially."""
    t = np.arange(periods, dtype=float)
    rise = (t + 1) / (peak + 1)
    return np.where(t < peak, rise, np.exp(-(t - peak) / decay))


def _rise_and_fall(rng: np.random.Generator) -> Made:
    return Made(_bump(50, rng.integers(2, 9), rng.uniform(3, 10)))


def _falls(rng: np.random.Generator) -> Made:
    return Made(_bump(50, 0, rng.uniform(2, 12)))


def _rises(rng: np.random.Generator) -> Made:
    t = np.arange(50.0)
    return Made(t + 1 if rng.random() < 0.5 else np.exp(t / rng.uniform(10, 30)))


def _flat(rng: np.random.Generator) -> Made:
    return Made(np.ones(50))


def _two_peaks(rng: np.random.Generator) -> Made:
    first = _bump(50, rng.integers(1, 5), rng.uniform(2, 4))
    second = np.exp(-0.5 * ((np.arange(50) - rng.integers(15, 25)) / rng.uniform(2, 4)) ** 2)
    return Made(first + rng.uniform(0.6, 1.5) * second)


def _plateau_first(rng: np.random.Generator) -> Made:
    late = np.roll(_bump(50, 3, rng.uniform(4, 8)), wait := int(rng.integers(8, 20)))
    late[:wait] = rng.uniform(0.02, 0.15)
    return Made(late)


def _power_law(rng: np.random.Generator) -> Made:
    return Made(1 / (1 + np.arange(50) / rng.uniform(1, 5)))


def _warm_up(rng: np.random.Generator) -> Made:
    t, warm, stays = np.arange(50.0), rng.integers(4, 9), rng.integers(4, 12)
    fall = np.exp(-np.clip(t - warm - stays, 0, None) / rng.uniform(4, 8))
    return Made(np.minimum((t + 1) / (warm + 1), 1) * fall)


def _outlier(rng: np.random.Generator) -> Made:
    made = _rise_and_fall(rng)
    spike = np.ones(50)
    spike[rng.integers(0, 8)] = rng.uniform(20, 100)
    return Made(made.signal, spike)


def _cut_rate(rng: np.random.Generator) -> Made:
    cut = np.where(np.arange(50) < rng.integers(15, 31), 1.0, rng.choice([0.1, 0.2, 0.3, 3.0]))
    return Made(_bump(50, rng.integers(2, 6), rng.uniform(12, 20)), cut)


def _memorises(rng: np.random.Generator) -> Made:
    # Late gradients of the few samples that are still wrong: large, and nothing new in them.
    late = FLOOR + rng.uniform(0.5, 2.0) / (1 + np.exp(-(np.arange(50) - 35) / 2))
    return Made(_rise_and_fall(rng).signal, floor=late)


def _high_floor(rng: np.random.Generator) -> Made:
    return Made(_rise_and_fall(rng).signal, floor=rng.uniform(0.2, 0.5))


def _long_epoch(rng: np.random.Generator) -> Made:
    return Made(_bump(200, rng.integers(5, 20), rng.uniform(20, 50)))


SHAPES: dict[str, Callable[[np.random.Generator], Made]] = {
    "rises, then falls": _rise_and_fall,
    "falls from the start": _falls,
    "rises for ever": _rises,
    "flat": _flat,
    "two peaks": _two_peaks,
    "a plateau, then rises and falls": _plateau_first,
    "falls as a power of time": _power_law,
    "warm-up, plateau, falls": _warm_up,
    "one outlier": _outlier,
    "the learning rate is cut, or raised": _cut_rate,
    "rises again at the end, by memorising": _memorises,
    "falls to a high floor, the noise of batches": _high_floor,
    "one long epoch in 200 periods of steps": _long_epoch,
}
