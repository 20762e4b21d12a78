"""Which epochs a monitor measures: as many as its part of the training's time allows."""

import functools
import math
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

_PRICE = 1.2
"""What a watched batch costs, in steps: 0.6 to 0.8 for one backward pass of the encoders, the rest
for its part of the probes and of what has to be set up."""
_REST = 0.04
"""What a measured epoch takes besides, in seconds: its validation, probes, and the log. A guess, by
which short trainings watch fewer batches; what it really takes shows when one was measured."""
_MOST_EPOCHS, _MOST_BATCHES, BATCHES = 6, 12, 4


def plan(
    epochs: float,
    steps: float,
    budget: float,
    every: int | None = None,
    batches: int | None = None,
) -> tuple[frozenset[int] | None, int]:
    """Which epochs are measured, and by how many batches each.

    Args:
        epochs: Of the training, ``inf`` if unknown.
        steps: Of an epoch, ``inf`` if unknown.
        budget: The part of all steps that watching may cost.
        every: Measure each such number of epochs, whatever it costs.
        batches: Watch so many, whatever it costs.

    Returns:
        The epochs, counted from 0, the last among them; ``None`` if there is no known last one and
        ``every`` is not given. And the number of batches, at least two.
    """
    if not math.isfinite(epochs):
        measured = None if every is None else frozenset(range(every - 1, 10_000 * every, every))
        return measured, batches or 2
    last = max(int(epochs), 1)
    if not math.isfinite(steps):
        every = every or last
    afford = 2 if not math.isfinite(steps) else int(budget * last * steps / _PRICE)
    each = batches or BATCHES
    times = max(min(afford // each, _MOST_EPOCHS, last), 1)
    if every is not None:
        found = frozenset({*range(every - 1, last, every), last - 1})
        times = len(found)
    else:
        found = frozenset(round((i + 1) * last / times) - 1 for i in range(times))
    if batches is None:
        batches = max(min(afford // times, _MOST_BATCHES) // 2 * 2, 2)
    return found, batches


class Clock:
    """The wall time spent inside ``with clock:``, counted once where blocks are nested.

    Attributes:
        spent: Seconds so far.
    """

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self.now = now
        self.spent = 0.0
        self._depth = 0
        self._since = 0.0

    def __enter__(self) -> None:
        if self._depth == 0:
            self._since = self.now()
        self._depth += 1

    def __exit__(self, *error: Any) -> None:
        self._depth -= 1
        if self._depth == 0:
            self.spent += self.now() - self._since


def on_clock(*hooks: str) -> Callable[[type[T]], type[T]]:
    """Decorate a class so that some methods, inherited ones too, run on its instances' ``clock``.

    Args:
        hooks: Their names; they return nothing.
    """

    def timed(hook: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(hook)
        def run(self: Any, *args: Any, **kwargs: Any) -> None:
            with self.clock:
                hook(self, *args, **kwargs)

        return run

    def decorate(cls: type[T]) -> type[T]:
        for name in hooks:
            setattr(cls, name, timed(getattr(cls, name)))
        return cls

    return decorate


class Cadence:
    """Drops planned epochs that would take more of the training's time than was allowed.

    A plan counts steps; how long they take, and what a monitor takes beside them, only shows in
    training. So before an epoch is measured, what was spent, what the last measured epoch took, and
    the same again for the last epoch, which is kept for the verdict, are held against the part of
    the whole training that is allowed, projected from the epochs so far.

    Args:
        budget: The part of the training's time.
        clock: What is spent.
        epochs: That are trained from here on; ``inf`` if unknown.
    """

    def __init__(self, budget: float, clock: Clock, epochs: float) -> None:
        self.budget, self.clock, self.epochs = budget, clock, epochs
        self._begun = clock.now()
        self._before = self._price = 0.0

    def affords(self, trained: int) -> bool:
        """Whether a planned epoch, which is not the last, may be measured.

        Args:
            trained: Epochs since the beginning that are complete.
        """
        planned = self._price * (2 if math.isfinite(self.epochs) else 1)
        return trained == 0 or planned <= self._left(trained)

    def batches(self, planned: int, trained: float, step: float) -> int:
        """How many of the planned batches of an epoch are watched: an even number, at least two.

        Args:
            planned: So many at most.
            trained: Epochs so far, with the part of this one.
            step: Steps so far.
        """
        if not trained or not step:
            return planned
        price = _PRICE * (self.clock.now() - self._begun) / step
        fit = int((self._left(trained) - _REST) / price) // 2 * 2
        return min(max(fit, 2), planned)

    def _left(self, trained: float) -> float:
        """Seconds that are allowed and not spent yet, by how long the whole will take."""
        elapsed = self.clock.now() - self._begun
        whole = elapsed * max(self.epochs / max(trained, 1.0), 1.0)
        if not math.isfinite(whole):  # no known end: by what there was so far
            whole = elapsed
        return self.budget * whole - self.clock.spent

    def begin(self) -> None:
        """A measured epoch begins."""
        self._before = self.clock.spent

    def end(self) -> None:
        """It has ended."""
        self._price = max(self._price, self.clock.spent - self._before)
