"""What the demo shows while it runs: live bars in a terminal, plain lines elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from workers import Event

if TYPE_CHECKING:
    from inforeg_lightning.report import Summary

_LINE_EVERY = 10


class Display:
    """Progress of several runs; a context manager.

    Args:
        names: The runs' names.
        console: Where to; by its kind, bars or lines.
    """

    def __init__(self, names: Sequence[str], console: Console) -> None:
        self.names, self.console = names, console
        self.finished, self.started = 0, time.monotonic()
        self.lines: dict[int, TaskID] = {}
        self.bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self.overall = self.bars.add_task("[bold]runs", total=len(names), note="")

    def __enter__(self) -> "Display":
        self.bars.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for line in self.lines.values():
            self.bars.remove_task(line)
        self.bars.stop()

    def show(self, event: Event) -> None:
        """Show what a worker told."""
        name = self.names[event.job]
        if event.kind == "start":
            self.lines[event.job] = self.bars.add_task(name, total=1, completed=0, note="starting")
            self._line(f"{name}: started")
        elif event.kind == "epoch":
            self._epoch(event, name)
        else:
            self.finished += 1
            if event.job in self.lines:
                self.bars.remove_task(self.lines.pop(event.job))
            self.bars.update(self.overall, completed=self.finished)
            outcome = (
                "done" if event.kind == "done" else f"[red]failed[/]: {escape(str(event.detail))}"
            )
            self.console.print(
                f"\\[{self.finished}/{len(self.names)}] {name}: {outcome} "
                f"({time.monotonic() - self.started:.0f} s)",
                highlight=False,
                soft_wrap=True,
            )

    def _epoch(self, event: Event, name: str) -> None:
        epoch, epochs, accuracy = event.detail
        note = "" if accuracy is None else f"val accuracy {accuracy:.3f}"
        if event.job in self.lines:
            line = self.lines[event.job]
            self.bars.update(line, completed=epoch, total=epochs, note=note)
        if epoch % _LINE_EVERY == 0:
            self._line(f"{name}: epoch {epoch}/{epochs}  {note}")

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            self.console.print(text, highlight=False, soft_wrap=True)


def table(summary: "Summary") -> Table:
    """The last epoch's test accuracies for a terminal; differences to the baseline below."""
    # Here: it takes torch with it, seconds in which a terminal would show nothing.
    from inforeg_lightning.report.markdown import heading, percent

    shown = Table(
        title=f"{summary.experiment}: test accuracy in %, last epoch",
        caption="Mean ± 95 % t interval over seeds; below, the paired difference to the baseline.",
    )
    shown.add_column("method")
    for quantity in summary.quantities:
        shown.add_column(heading(quantity), justify="right")
    for index, group in enumerate(summary.groups):
        cells = (summary.cells.get((index, "last", q)) for q in summary.quantities)
        shown.add_row(group.title, *("\n".join(filter(None, percent(cell))) for cell in cells))
    return shown
