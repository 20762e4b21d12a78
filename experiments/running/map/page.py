"""The generated part of ``docs/map.md``."""

from collections.abc import Mapping
from typing import Any

from running.map.judging import with_gains
from running.map.placing import NEAREST, place
from running.map.reading import sentence
from running.map.remedies import REMEDIES

_HEAD = (
    *("remedy", "mean", "gains", "harms", "below −0.3", "best", "worst, 95 %"),
    "with what is left on the table",
)


def map_tables(content: Mapping[str, Any]) -> str:
    """The decisions of the protocol as Markdown.

    Args:
        content: Of ``experiments/results/map.json``.
    """
    judged = content["judged"]
    lines = [
        f"{judged['cells']} cells, {judged['seeds']} paired seeds each; points over joint:",
        "",
        _line(_HEAD),
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
    for name, position in content.get("cases", {}).items():
        said = sentence(place(position, with_gains(content["cells"])))
        lines += ["", f"{name}, by its diagnosis: {said[0].lower()}{said[1:]}"]
    return "\n".join(_wrapped(lines))


def _remedy(name: str, of: Mapping[str, Any]) -> str:
    mean, low, high = of["interval there"]
    return _line(
        (
            *(REMEDIES[name].title, _sign(of["mean"]), str(of["gains"]), str(of["harms"])),
            *(str(of["below the bound"]), _sign(of["best"])),
            f"{_sign(mean)} ({_sign(low)} to {_sign(high)})",
            f"{of['correlation with the table']:.2f}".replace("-", "−"),
        )
    )


def _worst(name: str, of: Mapping[str, Any]) -> str:
    return f"{REMEDIES[name].title} in “{of['worst cell']}”"


def _worth(what: str, by: str, of: Mapping[str, Any]) -> str:
    lost = (f"{x[0]:.1f}, {x[1]:.1f}" for x in (of[k] for k in _REGRETS))
    return _line((what, by, f"{of['error']:.1f}", f"{of['error of one answer']:.1f}", *lost))


_REGRETS = ("regret", "regret of one answer", "regret of joint training")


def _sign(value: float) -> str:
    return f"{value:+.1f}".replace("-", "−")


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _wrapped(lines: list[str]) -> list[str]:
    """Lines of text that fit; those of tables stay whole."""
    import textwrap

    return [
        part
        for line in lines
        for part in ([line] if line.startswith("|") or not line else textwrap.wrap(line, 150))
    ]
