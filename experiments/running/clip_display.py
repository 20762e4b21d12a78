"""What preparing and sharding show while they run: clips done, their rate and the time left."""

import time
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from inforeg_lightning.data import prepare as preparation

_LINE_EVERY = 10.0  # seconds


class ClipDisplay:
    """A bar with rate and time left in a terminal, a line now and then elsewhere."""

    def __init__(self, name: str, console: Console) -> None:
        self.name, self.console = name, console
        self.first: tuple[float, int] | None = None  # when how many clips were done
        self.next_line = 0.0
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=32),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            # Parts differ: a short memory would make the estimate jump.
            TimeRemainingColumn(),
            console=console,
            speed_estimate_period=120,
            disable=not console.is_terminal,
        )
        self.task = self.bar.add_task(name, total=None, rate="")

    def __enter__(self) -> "ClipDisplay":
        self.bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.bar.stop()

    def show(self, progress: "preparation.Progress") -> None:
        """Show how far it is."""
        now, begun = time.monotonic(), progress.done > progress.resumed
        if not begun:
            self._begin(progress)
        elif self.first is None:
            # From the first clip on, that the start of the workers may not count.
            self.first, self.next_line = (now, progress.done), now + _LINE_EVERY
        since, count = self.first or (now, progress.done)
        rate = (progress.done - count) / max(now - since, 1e-3)
        text = f"{rate:.1f} clips/s" if rate else ""
        self.bar.update(self.task, completed=progress.done, total=progress.total, rate=text)
        if not self.console.is_terminal and rate and now >= self.next_line:
            self.next_line = now + _LINE_EVERY
            left = (progress.total - progress.done) / rate
            self._line(
                f"{self.name}: {progress.done}/{progress.total} clips, {text}, {left:.0f} s left"
            )

    def _begin(self, progress: "preparation.Progress") -> None:
        if self.bar.tasks[self.task].total is not None:
            return
        found = f"{self.name}: {progress.total} clips"
        if progress.resumed:
            found += f", {progress.resumed} of them there already: going on"
        self._line(found)

    def _line(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)
