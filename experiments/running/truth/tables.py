"""What documents show of the worlds whose answer is known, as Markdown."""

from collections.abc import Mapping
from typing import Any

STATES = ("healthy", "starved", "fusion harms", "weak by nature", "cannot tell")
KEPT = ("share", "agreement", "probe − largest class", "probe − fused", "drop")
"""What the monitor measures: read off ``suspicions.json``, which is of the same trainings."""


def real_worlds_table(content: Mapping[str, Any]) -> str:
    """Right answers per set of real data, of diagnoses and of suspicions, and both matrices."""
    judged = content["judged"]
    sets = judged["diagnosis"]["right by set"]
    lines = ["| set | worlds | `diagnose` right | suspicions right |", "|---|---:|---:|---:|"]
    for name, (right, worlds) in sets.items():
        other = judged["suspicions"]["right by set"][name][0]
        lines.append(f"| {name} | {worlds} | {right} | {other} |")
    models = [judged[of]["models"] for of in ("diagnosis", "suspicions")]
    lines.append(f"| **all** | {models[0]['worlds']} | {' | '.join(_share(x) for x in models)} |")
    false = ["{} of {}".format(*x["starved, said of a healthy model"]) for x in models]
    lines.append(f"| *starved* said of healthy models | | {' | '.join(false)} |")
    for word, of in zip(("`diagnose`", "the suspicions"), models, strict=True):
        lines += ["", f"By what is true (rows) and what {word} said:", "", *matrix(of["confusion"])]
    left_out = judged["worlds without a known answer, left out"]
    lines += ["", f"{left_out} worlds lie on an edge between two answers and are left out."]
    return "\n".join(lines)


def suspicions_table(content: Mapping[str, Any]) -> str:
    """Right suspicions of both halves, and the matrix of the half never tuned on."""
    lines = [
        "| worlds | models right | modalities right | *starved* said of | starved models found |",
        "|---|---:|---:|---:|---:|",
    ]
    for half, found in content["judged"].items():
        models, row = found["models"], found["models"]["confusion"]["starved"]
        said, healthy = models["starved, said of a healthy model"]
        lines.append(
            f"| {half} | {_share(models)} | {_share(found['modalities'])} | {said} of {healthy} "
            f"healthy models | {row['starved']} of {sum(row.values())} |"
        )
    fresh = content["judged"]["never tuned on"]["models"]["confusion"]
    title = "Those never tuned on, by what is true (rows) and what was suspected:"
    return "\n".join([*lines, "", title, "", *matrix(fresh)])


def signals_table(content: Mapping[str, Any]) -> str:
    """Areas under ROC curves of what was tried, in the first and the last measured epoch."""
    asked = ("starved", "starved, where held is not used", "weak by nature")
    heads = ["signal", *asked, "right in the rule"]
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for signal, of in content["compared"].items():
        cells = [" → ".join(f"{x:.2f}" for x in of[name]) for name in asked]
        cells.append("{} of {}".format(*of["in the rule"]))
        name = f"**{signal}**" if signal in KEPT else signal
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def matrix(confusion: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A confusion matrix, line by line."""
    lines = ["| truth | " + " | ".join(STATES) + " |", "|---|" + "---:|" * len(STATES)]
    for truth, row in confusion.items():
        lines.append(f"| {truth} | {' | '.join(map(str, row.values()))} |")
    return lines


def _share(found: Mapping[str, Any]) -> str:
    return f"{found['right']} of {found['worlds']} ({100 * found['right'] / found['worlds']:.1f} %)"
