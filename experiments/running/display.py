"""What a study shows while it runs and at its end: bars and tables, or plain lines elsewhere."""

import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from running.runner import Event

if TYPE_CHECKING:
    from inforeg_lightning.report import Summary
    from inforeg_lightning.report import Table as ReportTable

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
        name = self.names[event.task]
        if event.kind == "start":
            self.lines[event.task] = self.bars.add_task(name, total=1, completed=0, note="starting")
            self._line(f"{name}: started")
        elif event.kind == "epoch":
            self._epoch(event, name)
        else:
            self.finished += 1
            if event.task in self.lines:
                self.bars.remove_task(self.lines.pop(event.task))
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
        epoch, epochs, value = event.detail.number, event.detail.of, event.detail.value
        note = "" if value is None else f"val {event.detail.metric} {value:.3f}"
        if event.task in self.lines:
            line = self.lines[event.task]
            self.bars.update(line, completed=epoch, total=epochs, note=note)
        if epoch % _LINE_EVERY == 0:
            self._line(f"{name}: epoch {epoch}/{epochs}  {note}")

    def _line(self, text: str) -> None:
        if not self.console.is_terminal:
            self.console.print(text, highlight=False, soft_wrap=True)


def show_tables(summaries: "Sequence[Summary]", above: Sequence[str], console: Console) -> None:
    """Print what a report holds; a terminal gets narrower tables than a file, of the last epoch."""
    # Here: it takes torch with it, seconds in which a terminal would show nothing.
    from inforeg_lightning.report import markdown, tables

    plain = {"markup": False, "highlight": False, "soft_wrap": True}
    for line in above:
        console.print(line, **plain)
    for summary in summaries:
        if not console.is_terminal:
            console.print(markdown(summary), **plain)
            continue
        console.print(_narrow(tables(summary)[0]), highlight=False)
        for note in summary.notes:
            console.print(note, **plain)


def _narrow(table: "ReportTable") -> Table:
    shown = Table(
        title=escape(f"{table.experiment}: {table.caption}"),
        caption="Mean ± 95 % t interval over seeds; below, the paired difference to the baseline.",
    )
    shown.add_column("method")
    for column in table.columns:
        shown.add_column(escape(column), justify="right")
    for row in table.rows:
        cells = ("\n".join(filter(None, (cell.value, cell.difference))) for cell in row.cells)
        shown.add_row(escape(row.title), *cells)
    return shown
