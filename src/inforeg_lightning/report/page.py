"""One HTML page that needs nothing but itself, and the files beside it."""

import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from matplotlib.figure import Figure

from inforeg_lightning.report import figures, style
from inforeg_lightning.report.markdown import CHECKPOINT_TITLES, heading, markdown, percent
from inforeg_lightning.report.runs import CHECKPOINTS, Unreadable
from inforeg_lightning.report.summary import Summary

_COLUMNS = {
    "fused": "Test accuracy of the whole model.",
    "head": "Test accuracy of one modality's share of the fused classifier, the other modalities "
    "left out. It shows what the model uses.",
    "probe": "Test accuracy of a new linear classifier on the frozen encoder's features. It shows "
    "what the encoder knows: a share of the head exaggerates how much a modality is suppressed.",
    "±": "95 % Student t interval over seeds.",
    "second line": "Difference to the baseline in points, paired by seed, with its interval. An "
    "interval that contains 0 shows no difference.",
    "last epoch, best epoch": "Which weights are tested: the last, or those with the best "
    "validation accuracy. The test set chooses nothing.",
}


MorePlots = Callable[[Summary], Sequence[figures.Plot]]


def write_report(
    summaries: Sequence[Summary],
    unreadable: Sequence[Unreadable],
    out: Path,
    command: str = "",
    remarks: Sequence[str] = (),
    more: Sequence[MorePlots] = (),
) -> Path:
    """Write ``report.html``, ``report.md``, ``result.json`` and the figures as SVG and PNG.

    Args:
        summaries: What to report, one an experiment.
        unreadable: Run folders that could not be used; they are listed and counted.
        out: Folder to write to; made if missing.
        command: The command that makes this report again.
        remarks: Sentences to set above the tables, as they are.
        more: What draws further figures of an experiment, which stand before the usual ones:
            ``embedding_plots``, or ``partial(sweep_plots, parameter="beta")``.

    Returns:
        The page.
    """
    out.mkdir(parents=True, exist_ok=True)
    body = [
        _head(summaries, unreadable, remarks),
        *(_section(summary, out, more) for summary in summaries),
    ]
    body.append(_explanations(summaries, command))
    names = ", ".join(summary.experiment for summary in summaries)
    template = Template((files(__package__) / "page.html").read_text())
    page = out / "report.html"
    page.write_text(
        template.substitute(title=escape(f"InfoReg report: {names}"), body="\n".join(body))
    )
    (out / "report.md").write_text(_markdown(summaries, unreadable, remarks))
    (out / "result.json").write_text(_json(summaries, unreadable, command))
    return page


def _head(
    summaries: Sequence[Summary], unreadable: Sequence[Unreadable], remarks: Sequence[str]
) -> str:
    count = sum(len(group.runs) for summary in summaries for group in summary.groups)
    names = ", ".join(summary.experiment for summary in summaries)
    parts = [f"<h1>InfoReg report: {escape(names)}</h1>", f"<p class=quiet>{count} runs.</p>"]
    parts += [f"<p>{escape(remark)}</p>" for remark in remarks]
    if unreadable:
        items = _list(f"{problem.folder}: {problem.reason}" for problem in unreadable)
        parts.append(
            f"<div class=note><b>{len(unreadable)} run folders are not in this report.</b>"
            f"{items}</div>"
        )
    return "\n".join(parts)


def _section(summary: Summary, out: Path, more: Sequence[MorePlots]) -> str:
    parts = [f"<h2>{escape(summary.experiment)}</h2>"]
    parts += [f"<div class=note>{escape(note)}</div>" for note in summary.notes]
    for checkpoint in CHECKPOINTS:
        parts += [f"<h3>Test accuracy in %, {CHECKPOINT_TITLES[checkpoint]}</h3>"]
        parts.append(_table(summary, checkpoint))
    drawn = figures.choose(summary)
    if len(drawn.groups) < len(summary.groups):
        parts.append(
            f"<p class=quiet>The figures show {len(drawn.groups)} of {len(summary.groups)} "
            "methods: the baseline and those with the best mean validation accuracy.</p>"
        )
    extra = [plot for draw in more for plot in draw(summary)]
    for plot in [*extra, *figures.plots(summary)]:
        with style.style():
            svg = _save(plot.draw(), out / "figures", f"{summary.experiment}_{plot.name}")
        parts.append(
            f"<h3>{escape(plot.title)}</h3>\n<figure><div class=wide>"
            f"{_inline(svg, f'{summary.experiment}-{plot.name}', plot.title)}</div>"
            f"<figcaption>{escape(plot.caption)}</figcaption></figure>"
        )
    return "\n".join(parts)


def _table(summary: Summary, checkpoint: str) -> str:
    heads = ["method", *map(heading, summary.quantities), "seeds"]
    rows = []
    for index, group in enumerate(summary.groups):
        cells = [f"<td>{escape(group.title)}</td>"]
        for quantity in summary.quantities:
            value, difference = percent(summary.cells.get((index, checkpoint, quantity)))
            small = f"<small>{difference}</small>" if difference else ""
            cells.append(f"<td>{value}{small}</td>")
        rows.append(f"<tr>{''.join(cells)}<td>{len(group.runs)}</td></tr>")
    head = "".join(f"<th scope=col>{escape(text)}</th>" for text in heads)
    return (
        f"<div class=wide><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _explanations(summaries: Sequence[Summary], command: str) -> str:
    terms = "".join(f"<dt>{term}</dt><dd>{escape(text)}</dd>" for term, text in _COLUMNS.items())
    results = [run.result for s in summaries for group in s.groups for run in group.runs]
    lines = [_machine(result) for result in results]
    made = [f"Report made by <code>{escape(command)}</code>."] if command else []
    made += [f"Runs made on: {escape('; '.join(sorted(set(lines))))}."]
    seconds = sum(result.get("seconds", {}).get("total", 0) for result in results)
    made += [f"Training and evaluation took {seconds:.0f} s in all, summed over the runs."]
    return (
        f"<h2>What the columns mean</h2><dl>{terms}</dl>"
        f"<h2>How this was made</h2>{''.join(f'<p>{line}</p>' for line in made)}"
    )


def _machine(result: Mapping[str, Any]) -> str:
    machine, versions = result.get("machine", {}), result.get("versions", {})
    where = machine.get("gpu") or f"{machine.get('processor')}, {machine.get('cores')} cores"
    numbers = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"{where}, {machine.get('threads')} torch threads a run ({numbers})"


def _save(figure: Figure, folder: Path, name: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / f"{name}.png", dpi=160, facecolor="white")
    buffer = io.StringIO()
    # Without a date, equal runs give equal files.
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    (folder / f"{name}.svg").write_text(svg)
    return svg


def _inline(svg: str, prefix: str, title: str) -> str:
    """An SVG as part of the page: its text in the page's colour, its ids its own."""
    svg = svg[svg.index("<svg") :]
    points = re.search(r' width="([0-9.]+)pt"', svg)
    # Below this width the labels are too small to read, and the figure scrolls instead.
    least = f"min-width: {float(points[1]) * 0.85:.0f}px" if points else ""
    svg = re.sub(r' (width|height)="[^"]*pt"', "", svg, count=2)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    svg = svg.replace(style.FOREGROUND, "currentColor")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}" style="{least}"', 1)


def _list(items: Iterable[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"


def _markdown(
    summaries: Sequence[Summary], unreadable: Sequence[Unreadable], remarks: Sequence[str]
) -> str:
    text = "\n".join([*(f"{remark}\n" for remark in remarks), *map(markdown, summaries)])
    if unreadable:
        listed = "\n".join(f"- {problem.folder}: {problem.reason}" for problem in unreadable)
        text += f"\n{len(unreadable)} run folders are not in this table:\n\n{listed}\n"
    return text


def _json(summaries: Sequence[Summary], unreadable: Sequence[Unreadable], command: str) -> str:
    content = {
        "command": command,
        "experiments": {summary.experiment: summary.to_dict() for summary in summaries},
        "unreadable": [{"folder": str(u.folder), "reason": u.reason} for u in unreadable],
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"
