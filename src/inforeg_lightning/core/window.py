"""Which modalities are in the prime learning window (Eq. 11 and its alternatives).

A window is any callable ``(traces) -> {modality: open}``. ``traces`` holds for each modality the
Fisher traces of the periods that have ended, so that ``len(traces[m])`` is the index ``t`` of the
period about to begin. Windows keep no state: a resumed run decides what the interrupted one would.
A window may have ``first``, the first period in which it can be open; without it, that is 0.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, ClassVar

from inforeg_lightning.core.fisher import relative_change

Traces = Mapping[str, Sequence[float]]
Window = Callable[[Traces], Mapping[str, bool]]


@dataclass(frozen=True)
class PaperWindow:
    """A modality is in the window while its own trace still rises by more than ``K`` (Eq. 11).

    ``(Tr(F^{t−1}) − Tr(F^{t−2})) / Tr(F^{t−1}) > K``; never in periods 0 and 1, as in Algorithm 1.

    Args:
        K: Threshold of the relative change, in [0, 1).
    """

    K: float = 0.04

    first: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Check the threshold."""
        _check_threshold(self.K)

    def __call__(self, traces: Traces) -> dict[str, bool]:
        """Say for each modality whether the next period is in its window."""
        return {
            modality: len(trace) >= 2 and relative_change(trace[-1], trace[-2]) > self.K
            for modality, trace in traces.items()
        }


@dataclass(frozen=True)
class OutsideWindow:
    """The complement of :class:`PaperWindow` from period 2 on (the paper's Table 4, "outside").

    Periods 0 and 1 have no window yet and stay unregulated, as in Algorithm 1.

    Args:
        K: Threshold of the relative change, in [0, 1).
    """

    K: float = 0.04

    first: ClassVar[int] = 2

    def __post_init__(self) -> None:
        """Check the threshold."""
        _check_threshold(self.K)

    def __call__(self, traces: Traces) -> dict[str, bool]:
        """Say for each modality whether the next period is outside its prime learning window."""
        inside = PaperWindow(self.K)(traces)
        return {m: len(trace) >= 2 and not inside[m] for m, trace in traces.items()}


@dataclass(frozen=True)
class OfficialWindow:
    """The published code's window: the change of a moving average padded with zeros, one gate.

    The trace of one modality (published: audio) opens the window of all. Its moving average over
    ``span`` periods is compared with the one a period earlier; periods before the first count as
    zero, so that a constant trace alone keeps the window open in periods 0 to ``span``. Period 0
    is always in the window.

    Args:
        gate: The modality whose trace opens the window.
        K: Threshold of the relative change, in [0, 1).
        span: Periods in the moving average.
    """

    gate: str
    K: float = 0.05
    span: int = 10

    def __post_init__(self) -> None:
        """Check the threshold."""
        _check_threshold(self.K)

    def __call__(self, traces: Traces) -> dict[str, bool]:
        """Say for each modality whether the next period is in the window of the gate."""
        trace = traces[self.gate]
        # Sums compare as the averages do, and the smallest traces do not vanish in a division.
        newest = sum(trace[-self.span :])
        previous = sum(trace[:-1][-self.span :])
        is_open = len(trace) == 0 or relative_change(newest, previous) > self.K
        return dict.fromkeys(traces, is_open)


@dataclass(frozen=True)
class AdaptiveWindow:
    """Open from the start until the smoothed trace has fallen well below its peak (ours, no ``K``).

    Each modality's trace is smoothed causally (exponential average); its window closes, once and
    for good, when the smoothed trace is below ``fall`` times its running peak. A trace that never
    had a peak (all zero) never closes it.

    Args:
        smoothing: Weight of the newest trace in the average, in (0, 1].
        fall: Fraction of the running peak that closes the window, in (0, 1).
    """

    smoothing: float = 0.5
    fall: float = 0.2

    def __post_init__(self) -> None:
        """Check both constants."""
        if not 0 < self.smoothing <= 1:
            raise ValueError(f"`smoothing` must be in (0, 1], but is {self.smoothing}")
        if not 0 < self.fall < 1:
            raise ValueError(f"`fall` must be between 0 and 1, but is {self.fall}")

    def __call__(self, traces: Traces) -> dict[str, bool]:
        """Say for each modality whether the next period is still in its window."""
        return {modality: self._is_open(trace) for modality, trace in traces.items()}

    def _is_open(self, trace: Sequence[float]) -> bool:
        peak = 0.0
        for smoothed in self._smooth(trace):
            peak = max(peak, smoothed)
            if smoothed < self.fall * peak:
                return False
        return True

    def _smooth(self, trace: Sequence[float]) -> Iterator[float]:
        smoothed = None
        for value in trace:
            smoothed = (
                value
                if smoothed is None
                else self.smoothing * value + (1 - self.smoothing) * smoothed
            )
            yield smoothed


@dataclass(frozen=True)
class RangeWindow:
    """Open in periods ``start`` to ``stop − 1`` for every modality.

    Args:
        start: First period in the window.
        stop: First period after it; ``None`` for the end of training.
    """

    start: int = 0
    stop: int | None = None

    @property
    def first(self) -> int:
        """The first period in which it is open."""
        return self.start

    def __post_init__(self) -> None:
        """Check that the range is one."""
        if self.start < 0 or (self.stop is not None and self.stop < self.start):
            raise ValueError(
                f"a window's range must have 0 <= start <= stop, but is ({self.start}, {self.stop})"
            )

    def __call__(self, traces: Traces) -> dict[str, bool]:
        """Say for each modality whether the next period is in the range."""
        return {
            modality: self.start <= len(trace) and (self.stop is None or len(trace) < self.stop)
            for modality, trace in traces.items()
        }


def make_window(
    window: str | tuple[int, int | None] | Window, *, modalities: Sequence[str], K: float = 0.04
) -> Window:
    """Turn what a user writes for ``window`` into a window.

    Args:
        window: ``"paper"``, ``"official"``, ``"adaptive"``, ``"always"``, ``"outside"``,
            ``"never"``, a range ``(start, stop)`` of periods whose ``stop`` may be ``None``, or a
            callable as in this module.
        modalities: Names of the modalities; the first is the gate of ``"official"``.
        K: Threshold of ``"paper"``, ``"official"`` and ``"outside"``.

    Returns:
        The window.

    Raises:
        ValueError: The name is not one of those above, ``K`` is not in [0, 1), or the range
            is not one.
        TypeError: ``window`` is none of the above.
    """
    named: dict[str, Callable[[], Window]] = {
        "paper": lambda: PaperWindow(K),
        "official": lambda: OfficialWindow(modalities[0], K),
        "adaptive": AdaptiveWindow,
        "always": RangeWindow,
        "outside": lambda: OutsideWindow(K),
        "never": lambda: RangeWindow(0, 0),
    }
    PaperWindow(K)  # K is checked whatever the window
    K = float(K)  # of NumPy, too, it is written as a plain number
    if isinstance(window, str):
        if window not in named:
            raise ValueError(f"`window` must be one of {sorted(named)}, but is {window!r}")
        return named[window]()
    if callable(window):
        return window
    window = plain_range(window)
    if isinstance(window, tuple) and len(window) == 2 and isinstance(window[0], int):
        return RangeWindow(*window)
    raise TypeError(
        "`window` must be a name, a range (start, stop) of periods, or a callable "
        f"(traces) -> {{modality: bool}}, but is {window!r}"
    )


def plain_range(window: str | tuple[int, int | None] | Window) -> Any:
    """A range of NumPy's integers, or in a list, as a tuple of plain ones; else what was given."""
    if (
        isinstance(window, Sequence)
        and not isinstance(window, str)
        and len(window) == 2
        and isinstance(window[0], Integral)
        and isinstance(window[1], Integral | None)
    ):
        start, stop = window
        return int(start), None if stop is None else int(stop)
    return window


def _check_threshold(K: float) -> None:
    # A relative change never exceeds 1: with K >= 1 the window would silently never open.
    if isinstance(K, bool) or not isinstance(K, Real):
        raise TypeError(f"`K` must be a number in [0, 1), but is {K!r}")
    if not 0 <= K < 1:
        raise ValueError(f"`K` must be in [0, 1) (the paper searched 0.01 to 0.1), but is {K}")
