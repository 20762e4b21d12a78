"""AutoBalance's confirmation as Markdown, from ``results/auto_balance.json`` and its worlds."""

from collections import defaultdict
from collections.abc import Mapping
from statistics import mean
from typing import Any

from inforeg_lightning.report import mean_interval, paired_difference

JOINT = "none"
_SETS = {
    "av_digits": "AV-Digits",
    "av_mnist_speakers": "AV-MNIST, four speakers",
    "av_mnist_speakers_swapped": "AV-MNIST, four speakers, swapped",
    "views": "Six views",
}
_GAINS = 0.01
"""A family of worlds is healthy if no remedy gains as much."""


def sets_table(kept: Mapping[str, Any]) -> str:
    """A line per set and row: fused test accuracy, and the paired difference to joint training."""
    lines = [
        "| set | row | seeds | fused | to joint training |",
        "|---|---|---:|---:|---:|",
    ]
    for name, title in _SETS.items():
        rows = kept.get(name, {}).get("rows", {})
        if JOINT not in rows:
            continue
        joint = _fused(rows[JOINT])
        for row, of in sorted(rows.items(), key=lambda item: item[0] != JOINT):
            found = _fused(of)
            against = "" if row == JOINT else _difference(found, joint)
            level = _with_half_width(mean_interval([*found.values()]))
            lines.append(f"| {title} | {of['title']} | {len(found)} | {level} | {against} |")
    return "\n".join([*lines, "", "Test accuracy in %, last epoch, mean ± 95 % t interval."])


def worlds_table(found: Mapping[str, Any]) -> str:
    """A line per family of worlds: joint training, and by how many points two remedies differ."""
    families = defaultdict(list)
    for name, rows in found.items():
        families[name.rpartition("-")[0]].append(rows)
    lines = [
        "| family | worlds | joint | AutoBalance | unimodal losses | no remedy gains a point |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for family, worlds in families.items():
        level = {row: mean(mean(w[row].values()) for w in worlds) for row in worlds[0]}
        gains = {row: level[row] - level[JOINT] for row in level if row != JOINT}
        cells = [f"{100 * gains[row]:+.1f}" for row in ("auto_balance", "unimodal_losses")]
        healthy = "yes" if max(gains.values()) < _GAINS else ""
        joint = f"{100 * level[JOINT]:.1f}"
        lines.append(f"| {family} | {len(worlds)} | {joint} | {' | '.join(cells)} | {healthy} |")
    return "\n".join(lines).replace("| -", "| −")


def _fused(row: Mapping[str, Any]) -> dict[int, float]:
    return {int(seed): values["accuracy"] for seed, values in row["test"].items()}


def _difference(row: Mapping[int, float], joint: Mapping[int, float]) -> str:
    interval = paired_difference(row, {seed: joint[seed] for seed in row if seed in joint})
    if interval is None:
        return ""
    sign = "+" if interval.mean >= 0 else "−"
    return sign + _with_half_width(interval).removeprefix("-")


def _with_half_width(interval: Any) -> str:
    half = interval.half_width
    return f"{100 * interval.mean:.1f}" + ("" if half is None else f" ± {100 * half:.1f}")
