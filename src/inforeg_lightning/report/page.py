"""One HTML page that needs nothing but itself, and the files beside it."""

import io
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from html import escape
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from inforeg_lightning.diagnosis.report import Diagnosis, row_value
from inforeg_lightning.report import figures, style
from inforeg_lightning.report.folder import write_json
from inforeg_lightning.report.runs import Unreadable
from inforeg_lightning.report.summary import Summary
from inforeg_lightning.report.tables import in_markdown, markdown, tables

_TERMS = {
    "fused": "The metric that the caption names, accuracy of classes, of the whole model on the "
    "test set; in columns called so, another metric of the same predictions.",
    "macro F1": "The F1 score of the whole model, each class counting as much as any other.",
    "head": "The same metric of one modality's share of the fused head, the other modalities "
    "left out. It shows what the model uses.",
    "probe": "The same metric of a new linear model on the frozen encoder's features. It shows "
    "what the encoder knows: a share of the head exaggerates how much a modality is suppressed.",
    "±": "95 % Student t interval over seeds.",
    "second line": "Difference to the baseline, of shares in points, paired by seed, with its "
    "interval; where the caption says that lower is better, a negative one is a gain. An "
    "interval that contains 0 shows no difference.",
    "last epoch, best epoch": "Which weights are tested: the last, or those with the best "
    "validation metric. The test set chooses nothing.",
}

MorePlots = Callable[[Summary], Sequence[figures.Plot]]


def write_report(
    summaries: Sequence[Summary],
    unreadable: Sequence[Unreadable],
    out: Path,
    command: str = "",
    remarks: Sequence[str] = (),
    more: Sequence[MorePlots] = (),
    diagnoses: Mapping[str, Diagnosis] | None = None,
) -> Path:
    """Write ``report.html``, ``report.md``, ``result.json`` and the figures as SVG and PNG.

    Args:
        summaries: What to report, one per experiment.
        unreadable: Run folders that could not be used; they are listed and counted.
        out: Folder to write to; made if missing.
        command: The command that makes this report again.
        remarks: Sentences to set above the tables.
        more: What draws further figures of an experiment, which stand before the usual ones:
            ``embedding_plots``, or ``partial(sweep_plots, parameter="beta")``.
        diagnoses: Experiment -> its diagnosis, which stands above all runs.

    Returns:
        The page.

    Raises:
        OSError: The folder cannot be made or written; none is left that was made in vain.
    """
    _make_folder(out)
    results = [run.result for s in summaries for group in s.groups for run in group.runs]
    found = diagnoses or {}
    known = dict.fromkeys([*(summary.experiment for summary in summaries), *found])
    seconds = sum(result.get("seconds", {}).get("total", 0) for result in results)
    environment = Environment(
        loader=PackageLoader(__package__, "."), autoescape=True, undefined=StrictUndefined
    )
    text = environment.get_template("page.html").render(
        names=", ".join(known),
        diagnoses=[_diagnosed(name, diagnosis, out) for name, diagnosis in found.items()],
        count=len(results),
        remarks=remarks,
        unreadable=[{"folder": _plain(u.folder), "reason": u.reason} for u in unreadable],
        sections=[_section(summary, out, more) for summary in summaries],
        terms=_TERMS,
        command=command,
        machines=sorted({_machine(result) for result in results}),
        seconds=f"{seconds:.0f}",
    )
    page = out / "report.html"
    page.write_text(text, encoding="utf-8", errors="replace")
    (out / "report.md").write_text(
        _markdown(summaries, unreadable, remarks, found), encoding="utf-8", errors="replace"
    )
    write_json(
        out / "result.json",
        {
            "command": command,
            "experiments": {summary.experiment: summary.to_dict() for summary in summaries},
            "unreadable": [{"folder": _plain(u.folder), "reason": u.reason} for u in unreadable],
            **({"diagnoses": {n: d.to_dict() for n, d in found.items()}} if found else {}),
        },
    )
    return page


def _make_folder(out: Path) -> None:
    missing = [path for path in (out, *out.parents) if not os.path.lexists(path)]
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError:
        for path in missing:
            with suppress(OSError):  # not made, or no longer empty
                path.rmdir()
        raise


def _section(summary: Summary, out: Path, more: Sequence[MorePlots]) -> dict[str, Any]:
    plots = [plot for draw in more for plot in draw(summary)] + figures.plots(summary)
    return {
        "name": summary.experiment,
        "notes": summary.notes,
        "tables": tables(summary),
        "drawn": len(figures.choose(summary).groups),
        "methods": len(summary.groups),
        "plots": [_drawn(plot, _file_name(summary.experiment), out) for plot in plots],
    }


def _drawn(plot: figures.Plot, experiment: str, out: Path) -> dict[str, Any]:
    with style.style():
        svg = _save(plot.draw(), out / "figures", f"{experiment}_{plot.name}")
    inline = _inline(svg, f"{experiment}-{plot.name}", plot.title)
    return {"title": plot.title, "caption": plot.caption, "svg": Markup(inline)}


def _diagnosed(name: str, diagnosis: Diagnosis, out: Path) -> dict[str, Any]:
    """What the page shows of a diagnosis; its picture goes to files as well."""
    plot = figures.Plot(
        "diagnosis",
        "What each modality knows, holds and gives",
        "Left: test accuracy of each modality trained alone and of the fused model; hatched is "
        "what encoders that learn by themselves would bring. Middle: a linear probe of each "
        "encoder, trained alone and in the fused model; where the second bar is shorter, it holds "
        "less. "
        "Right: how much of the fused model's accuracy is owed to each. Lines are 95 % intervals.",
        diagnosis.plot,
    )
    return {
        "name": name,
        "diagnosis": diagnosis,
        "plot": _drawn(plot, _file_name(name), out),
        "rows": [[row["measure"], row["of"], row_value(row)] for row in diagnosis.table],
    }


def _machine(result: Mapping[str, Any]) -> str:
    machine, versions = result.get("machine", {}), result.get("versions", {})
    where = machine.get("gpu") or f"{machine.get('processor')}, {machine.get('cores')} cores"
    numbers = ", ".join(f"{name} {number}" for name, number in versions.items())
    return f"{where}, {machine.get('threads')} torch threads per run ({numbers})"


def _save(figure: Figure, folder: Path, name: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    buffer = io.StringIO()
    with warnings.catch_warnings():
        # A title may have characters that the font lacks; a box in a figure is no fault.
        warnings.filterwarnings("ignore", message=r"Glyph \d+")
        figure.savefig(folder / f"{name}.png", dpi=160, facecolor="white")
        # Without a date, equal runs give equal files.
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    (folder / f"{name}.svg").write_text(svg, encoding="utf-8")
    return svg


def _inline(svg: str, prefix: str, title: str) -> str:
    """An SVG as part of the page: its text in the page's colour, its ids its own."""
    svg = svg[svg.index("<svg") :]
    points = re.search(r' width="([0-9.]+)pt"', svg)
    # Below this width the labels are too small to read, and the figure scrolls instead.
    least = f"min-width: {float(points[1]) * 0.85:.0f}px" if points else ""
    svg = re.sub(r' (width|height)="[^"]*pt"', "", svg, count=2)
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    svg = svg.replace(style.FOREGROUND, "currentColor")
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(title)}" style="{least}"', 1)


def _file_name(experiment: str) -> str:
    """An experiment's name as a part of file names and ids; a study may name it in words."""
    return re.sub(r"[^\w-]+", "_", experiment)


def _plain(path: Path) -> str:
    """A path that can be shown and stored, also where its bytes are no text."""
    return str(path).encode("utf-8", "replace").decode()


def _markdown(
    summaries: Sequence[Summary],
    unreadable: Sequence[Unreadable],
    remarks: Sequence[str],
    diagnoses: Mapping[str, Diagnosis],
) -> str:
    said = [
        f"## {in_markdown(name)}: {in_markdown(d.verdict)}\n\n"
        f"{in_markdown(d.sentence)} {in_markdown(d.advice)}\n"
        for name, d in diagnoses.items()
    ]
    text = "\n".join([*(f"{remark}\n" for remark in remarks), *said, *map(markdown, summaries)])
    if unreadable:
        listed = "\n".join(
            f"- {in_markdown(f'{_plain(problem.folder)}: {problem.reason}')}"
            for problem in unreadable
        )
        text += f"\n{len(unreadable)} run folders are not in this table:\n\n{listed}\n"
    return text
