"""The steps of optimisers, as a loop of one's own makes them."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer

from inforeg_lightning.engine.wrappers import closure_of


class Steps:
    """Calls a function before each step, and counts the steps.

    Args:
        optimizers: Whose steps they are.
        before: ``(optimizer, has_closure) -> None``; not called a second time where the step of a
            subclass calls that of its base, which has the hook as well.
    """

    def __init__(
        self, optimizers: Sequence[Optimizer], before: Callable[[Optimizer, bool], None]
    ) -> None:
        self.made = 0
        """How many steps were made."""
        self._before = before
        self._depths: Counter[Optimizer] = Counter()
        self._handles = [
            handle
            for optimizer in optimizers
            for handle in (
                optimizer.register_step_pre_hook(self._enter),
                optimizer.register_step_post_hook(self._leave),
            )
        ]

    @property
    def are_watched(self) -> bool:
        """Whether the hooks are still there."""
        return bool(self._handles)

    def forget_failed(self) -> None:
        """Forget steps that were begun and never ended, as an exception leaves them."""
        self._depths.clear()

    def remove(self) -> None:
        """Remove the hooks; the count stays."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def _enter(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._depths[optimizer] += 1
        if self._depths[optimizer] == 1:
            self._before(optimizer, closure_of(args, kwargs) is not None)

    def _leave(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        self._depths[optimizer] -= 1
        if self._depths[optimizer] == 0:
            self.made += 1
