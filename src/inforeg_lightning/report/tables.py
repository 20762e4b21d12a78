"""The one table of this project: methods in rows, accuracies in columns, as text for any page.

A table comes from a :class:`Summary`, or from a ``result.json`` that a report wrote earlier;
Markdown is written here, HTML by the page's template and bars by the programs, all of them from
the same texts.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inforeg_lightning.report.schema import CHECKPOINTS
from inforeg_lightning.report.statistics import Interval
from inforeg_lightning.report.summary import Cell, Summary, quantities

CHECKPOINT_TITLES = {"last": "last epoch", "best": "best epoch on validation"}
EXPLANATION = (
    "Mean ± 95 % t interval over seeds; in brackets the difference to the baseline in points, "
    "paired by seed. Imbalance: by how many points the best head is ahead of the worst."
)


@dataclass(frozen=True)
class Text:
    """A cell as text: the mean in percent, and the difference in points (empty without one)."""

    value: str
    difference: str = ""


@dataclass(frozen=True)
class Row:
    """One method: its title, a text per column, and the number of its seeds."""

    title: str
    cells: tuple[Text, ...]
    seeds: int


@dataclass(frozen=True)
class Table:
    """The accuracies of one experiment at one checkpoint.

    Attributes:
        experiment: The experiment.
        caption: What the numbers are.
        columns: Headings of the columns between the method and the number of seeds.
        rows: The methods.
    """

    experiment: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def markdown(self) -> str:
        """The table in Markdown."""
        lines = [
            _line(["method", *self.columns, "seeds"]),
            _line(["---", *["---:"] * (len(self.columns) + 1)]),
        ]
        for row in self.rows:
            texts = [f"{c.value} ({c.difference})" if c.difference else c.value for c in row.cells]
            lines.append(_line([row.title, *texts, str(row.seeds)]))
        return "\n".join(lines)


def tables(summary: Summary) -> list[Table]:
    """The tables of an experiment, one per checkpoint."""
    return [
        _table(
            summary.experiment,
            checkpoint,
            summary.quantities,
            [
                (
                    group.title,
                    {q: summary.cells.get((index, checkpoint, q)) for q in summary.quantities},
                    len(group.runs),
                )
                for index, group in enumerate(summary.groups)
            ],
        )
        for checkpoint in CHECKPOINTS
    ]


def read_tables(path: Path) -> list[Table]:
    """The tables of a ``result.json`` that :func:`write_report` wrote, also of another program.

    Args:
        path: The file.

    Raises:
        ValueError: It holds no tables of a report.
    """
    try:
        experiments = json.loads(path.read_text(encoding="utf-8"))["experiments"]
        return [
            table
            for name, content in experiments.items()
            for table in _tables_of(str(name), content["methods"])
        ]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} does not hold the tables of a report ({type(error).__name__}: {error}); give "
            "a result.json that report.py or study.py wrote"
        ) from None


def markdown(summary: Summary) -> str:
    """The tables of an experiment in Markdown, what they mean, and its notes."""
    lines = [f"## {in_markdown(summary.experiment)}", ""]
    for table in tables(summary):
        lines += [f"{table.caption}:", "", table.markdown(), ""]
    lines += [EXPLANATION, "", *(f"- {in_markdown(note)}" for note in summary.notes)]
    return "\n".join(lines).rstrip() + "\n"


def heading(quantity: str) -> str:
    """A column's name for readers."""
    if quantity in ("accuracy", "macro_f1", "imbalance"):
        return {"accuracy": "fused", "macro_f1": "fused, macro F1"}.get(quantity, quantity)
    kind, modality = quantity.split("_", 1)
    return f"{modality}, {'head' if kind == 'accuracy' else 'probe'}"


def in_markdown(text: str) -> str:
    """Text that is shown as it is: not as HTML, and not as the end of a cell or a line."""
    return re.sub(r"[\\|]", r"\\\g<0>", " ".join(text.split())).replace("<", "&lt;")


def _tables_of(experiment: str, methods: Sequence[Mapping[str, Any]]) -> Iterator[Table]:
    for checkpoint in CHECKPOINTS:
        found = {q: None for method in methods for q in method.get(checkpoint, {})}
        if not found:
            continue
        heads = [q.removeprefix("accuracy_") for q in found if q.startswith("accuracy_")]
        probes = [q.removeprefix("probe_") for q in found if q.startswith("probe_")]
        columns = [q for q in quantities(dict.fromkeys([*heads, *probes]), True) if q in found]
        rows = [
            (
                str(method["title"]),
                {q: _cell(method.get(checkpoint, {}).get(q)) for q in columns},
                len(method["seeds"]),
            )
            for method in methods
        ]
        yield _table(experiment, checkpoint, columns, rows)


def _table(
    experiment: str,
    checkpoint: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Mapping[str, Cell | None], int]],
) -> Table:
    return Table(
        experiment,
        f"Test accuracy in %, {CHECKPOINT_TITLES[checkpoint]}",
        tuple(map(heading, columns)),
        tuple(
            Row(title, tuple(_text(cells[column]) for column in columns), seeds)
            for title, cells, seeds in rows
        ),
    )


def _cell(content: Mapping[str, Any] | None) -> Cell | None:
    if content is None:
        return None
    difference = content.get("difference")
    return Cell(Interval.from_dict(content), difference and Interval.from_dict(difference))


def _text(cell: Cell | None) -> Text:
    if cell is None:
        return Text("–")
    value = f"{100 * cell.value.mean:.1f}{_plus_minus(cell.value)}"
    if cell.difference is None:
        return Text(value)
    return Text(value, f"{100 * cell.difference.mean:+.1f}{_plus_minus(cell.difference)}")


def _plus_minus(interval: Interval) -> str:
    return "" if interval.half_width is None else f" ± {100 * interval.half_width:.1f}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(in_markdown, cells))} |"
