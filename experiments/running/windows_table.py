"""The windows on simulated traces as Markdown, from what ``benchmarks/windows.py`` printed."""

from collections.abc import Mapping
from typing import Any

from running.markdown import line

_RIGHT = "right"


def windows_table(content: Mapping[str, Any]) -> str:
    """A row per shape: on how many traces each window is right, and how it fails.

    Args:
        content: Of ``benchmarks/results/windows.json``.
    """
    shapes = content["shapes"]
    names = [*next(iter(shapes.values()))]
    each = content["traces"] // len(shapes)
    head = ["trace", *(f'`"{n}"`' if " " not in n else n for n in names), "what the adaptive does"]
    lines = [
        f"Right on how many of {each} traces of each shape, in four strengths of noise:",
        "",
        line(head),
        "|---" + "|---:" * len(names) + "|---|",
    ]
    for shape, of in shapes.items():
        right = [str(_of(of[name], _RIGHT)) for name in names]
        lines.append(line([shape, *right, _failures(of["adaptive"])]))
    total = [str(sum(_of(of[name], _RIGHT) for of in shapes.values())) for name in names]
    lines.append(line([f"**all {content['traces']}**", *(f"**{n}**" for n in total), ""]))
    kinds = {name: _kinds(shapes, name) for name in names}
    lines += ["", "How they fail:", ""]
    lines += [f"- {name}: {said}." for name, said in kinds.items()]
    return "\n".join(lines)


def _kinds(shapes: Mapping[str, Any], name: str) -> str:
    counts: dict[str, int] = {}
    for of in shapes.values():
        for outcome, count in of[name]["outcomes"].items():
            counts[outcome] = counts.get(outcome, 0) + count
    failed = sorted(((n, o) for o, n in counts.items() if o != _RIGHT), reverse=True)
    return ", ".join(f"{outcome} {count}" for count, outcome in failed) or "never"


def _failures(of: Mapping[str, Any]) -> str:
    failed = {o: n for o, n in of["outcomes"].items() if o != _RIGHT}
    told = ", ".join(f"{o} {n}" for o, n in failed.items())
    return f"{told}; {100 * of['learnt while open']:.0f} % learnt while open".removeprefix("; ")


def _of(window: Mapping[str, Any], outcome: str) -> int:
    return int(window["outcomes"].get(outcome, 0))
