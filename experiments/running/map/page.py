"""The generated part of ``docs/map.md``."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from running.map.judging import with_gains
from running.map.placing import NEAREST, place
from running.map.reading import sentence
from running.map.remedies import REMEDIES
from running.markdown import line, signed

_HEAD = (
    *("remedy", "mean", "gains", "harms", "below −0.3", "best", "worst, 95 %"),
    "with what is left on the table",
)
FOLLOWS = 0.7
"""Correlation from which on gains follow what is left on the table."""


def map_tables(content: Mapping[str, Any]) -> str:
    """The decisions of the protocol as Markdown.

    Args:
        content: Of ``experiments/results/map.json``.
    """
    judged = content["judged"]
    lines = [
        f"{judged['cells']} cells, {judged['seeds']} paired seeds each; points over joint:",
        "",
        line(_HEAD),
        "|---" + "|---:" * (len(_HEAD) - 1) + "|",
        *(_remedy(name, of) for name, of in judged["remedies"].items()),
        "",
        "*Gains*, *harms*: cells with at least one point and p < 0.05, corrected by Holm over the "
        "cells; *below −0.3*: by the mean alone.",
        "Last column: Spearman's correlation of a remedy's gain with what the diagnosis says is "
        "left on the table.",
        "",
        "Worst cells: "
        + "; ".join(_worst(name, of) for name, of in judged["remedies"].items())
        + ".",
        "",
        f"What a position is worth: the gains of the {NEAREST} nearest cells as a prediction, and "
        "what their advice loses to the best",
        "remedy, median and mean, beside one answer for all cells and beside joint training left "
        "as it is:",
        "",
        "| predicted | by | error | of one answer | advice loses | one answer | joint |",
        "|---|---|---:|---:|---:|---:|---:|",
        *(_worth("cells, each from the others", k, of) for k, of in judged["left out"].items()),
    ]
    if "elsewhere" in judged:
        found, worlds = judged["elsewhere"], len(content["elsewhere"])
        lines.append(_worth(f"{worlds} worlds elsewhere", "diagnosis", found["all"]))
        if "on the map" in found:
            near = worlds - found["off the map"]
            lines.append(_worth(f"{near} of them, not off it", "diagnosis", found["on the map"]))
    lines += ["", "The decisions of the protocol, by its numbers:", "", *_decisions(judged)]
    for name, position in content.get("cases", {}).items():
        said = sentence(place(position, with_gains(content["cells"])))
        lines += ["", f"{name}, by its diagnosis: {said[0].lower()}{said[1:]}"]
    return "\n".join(_wrapped(lines))


def _remedy(name: str, of: Mapping[str, Any]) -> str:
    mean, low, high = of["interval there"]
    return line(
        (
            *(REMEDIES[name].title, signed(of["mean"]), str(of["gains"]), str(of["harms"])),
            *(str(of["below the bound"]), signed(of["best"])),
            f"{signed(mean)} ({signed(low)} to {signed(high)})",
            f"{of['correlation with the table']:.2f}".replace("-", "−"),
        )
    )


def _decisions(judged: Mapping[str, Any]) -> list[str]:
    """Each question with its answer, as a line that begins with its number."""
    remedies = judged["remedies"]
    follow = [r for r, of in remedies.items() if of["correlation with the table"] >= FOLLOWS]
    harmless = [r for r, of in remedies.items() if of["below the bound"] == 0]
    lines = [
        f"- 1. Gains follow what is left on the table (correlation of {FOLLOWS} or more): "
        f"{len(follow)} of {len(remedies)}; not {_named(r for r in remedies if r not in follow)}.",
        f"- 2. Does no harm (no cell below −0.3): {_named(harmless)}.",
    ]
    for number, kind, of in _predictions(judged):
        error, plain, regret = of["error"], of["error of one answer"], of["regret"][0]
        halved = "at most half" if error <= plain / 2 else "more than half"
        small = "at most" if regret <= 1 else "more than"
        lines.append(
            f"- {number}. The position predicts, {kind}: error {error:.2f} against {plain:.2f}, "
            f"{halved}; median regret {regret:.2f}, {small} 1."
        )
    return lines


def _predictions(judged: Mapping[str, Any]) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Number of the decision, of what, and what the predictions were worth."""
    for kind, of in judged["left out"].items():
        yield 3, f"by {kind}", of
    if "elsewhere" in judged:
        yield 4, "elsewhere", judged["elsewhere"]["all"]


def _named(remedies: Iterable[str]) -> str:
    return ", ".join(REMEDIES[name].title for name in remedies) or "none"


def _worst(name: str, of: Mapping[str, Any]) -> str:
    return f"{REMEDIES[name].title} in “{of['worst cell']}”"


def _worth(what: str, by: str, of: Mapping[str, Any]) -> str:
    lost = (f"{x[0]:.1f}, {x[1]:.1f}" for x in (of[k] for k in _REGRETS))
    return line((what, by, f"{of['error']:.1f}", f"{of['error of one answer']:.1f}", *lost))


_REGRETS = ("regret", "regret of one answer", "regret of joint training")


def _wrapped(lines: list[str]) -> list[str]:
    """Lines of text that fit; those of tables stay whole."""
    return [
        part
        for line in lines
        for part in ([line] if line.startswith("|") or not line else _text(line))
    ]


def _text(line: str) -> list[str]:
    return textwrap.wrap(line, 150, subsequent_indent="  " if line.startswith("- ") else "")
