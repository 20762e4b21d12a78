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

from inforeg_lightning.report.measures import ACCURACY, Measure, measure
from inforeg_lightning.report.schema import CHECKPOINTS
from inforeg_lightning.report.statistics import Interval
from inforeg_lightning.report.summary import Cell, Summary, quantities

CHECKPOINT_TITLES = {"last": "last epoch", "best": "best epoch on validation"}


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
            summary.metric,
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
            for table in _tables_of(
                str(name), content["methods"], str(content.get("metric", ACCURACY))
            )
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
    notes = [f"- {in_markdown(note)}" for note in summary.notes]
    lines += [explanation(summary.metric), "", *notes]
    return "\n".join(lines).rstrip() + "\n"


def explanation(metric: str) -> str:
    """What the numbers of a table are, below it."""
    of = measure(metric)
    if of.share:
        return (
            "Mean ± 95 % t interval over seeds; in brackets the difference to the baseline in "
            "points, paired by seed. Imbalance: by how many points the best head is ahead of the "
            "worst."
        )
    better = " Lower is better: a negative difference is a gain." if of.lower_is_better else ""
    return (
        "Mean ± 95 % t interval over seeds; in brackets the difference to the baseline, paired by "
        f"seed.{better} Imbalance: by how much the best head is ahead of the worst."
    )


def heading(quantity: str, metric: str = ACCURACY) -> str:
    """A column's name for readers.

    Args:
        quantity: What is in it, as :func:`quantities` names it.
        metric: What the table's runs are compared by.
    """
    if quantity == metric or quantity == "imbalance":
        return "fused" if quantity == metric else quantity
    for prefix, kind in ((f"{metric}_", "head"), ("probe_", "probe")):
        if quantity.startswith(prefix):
            return f"{quantity.removeprefix(prefix)}, {kind}"
    of = measure(quantity)
    return f"fused, {of.title}{' (lower is better)' if of.lower_is_better else ''}"


def measure_of(quantity: str, metric: str) -> Measure:
    """How a column is read: heads, probes and imbalance are in the unit of the metric."""
    of_metric = quantity == "imbalance" or quantity.startswith((f"{metric}_", "probe_"))
    return measure(metric if of_metric else quantity)


def in_markdown(text: str) -> str:
    """Text that is shown as it is: not as HTML, and not as the end of a cell or a line."""
    return re.sub(r"[\\|]", r"\\\g<0>", " ".join(text.split())).replace("<", "&lt;")


def _tables_of(
    experiment: str, methods: Sequence[Mapping[str, Any]], metric: str
) -> Iterator[Table]:
    for checkpoint in CHECKPOINTS:
        found = {q: None for method in methods for q in method.get(checkpoint, {})}
        if not found:
            continue
        head = f"{metric}_"
        heads = [q.removeprefix(head) for q in found if q.startswith(head)]
        probes = [q.removeprefix("probe_") for q in found if q.startswith("probe_")]
        names = dict.fromkeys([*heads, *probes])
        further = [q for q in found if q not in quantities(names, metric)]
        columns = [q for q in quantities(names, metric, further) if q in found]
        rows = [
            (
                str(method["title"]),
                {q: _cell(method.get(checkpoint, {}).get(q)) for q in columns},
                len(method["seeds"]),
            )
            for method in methods
        ]
        yield _table(experiment, checkpoint, metric, columns, rows)


def _table(
    experiment: str,
    checkpoint: str,
    metric: str,
    columns: Sequence[str],
    rows: Sequence[tuple[str, Mapping[str, Cell | None], int]],
) -> Table:
    measured = [(q, measure_of(q, metric)) for q in columns]
    return Table(
        experiment,
        f"Test {measure(metric).said}, {CHECKPOINT_TITLES[checkpoint]}",
        tuple(heading(column, metric) for column in columns),
        tuple(
            Row(title, tuple(_text(cells[q], of) for q, of in measured), seeds)
            for title, cells, seeds in rows
        ),
    )


def _cell(content: Mapping[str, Any] | None) -> Cell | None:
    if content is None:
        return None
    difference = content.get("difference")
    return Cell(Interval.from_dict(content), difference and Interval.from_dict(difference))


def _text(cell: Cell | None, of: Measure) -> Text:
    if cell is None:
        return Text("–")
    value = f"{of.text(cell.value.mean)}{_plus_minus(cell.value, of)}"
    if cell.difference is None:
        return Text(value)
    return Text(value, f"{of.difference(cell.difference.mean)}{_plus_minus(cell.difference, of)}")


def _plus_minus(interval: Interval, of: Measure) -> str:
    return "" if interval.half_width is None else f" ± {of.text(interval.half_width)}"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(in_markdown, cells))} |"
