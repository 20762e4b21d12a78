"""The tables of ``docs/pretrained.md``, from what ``study.py pretrained`` keeps."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from running.contrasts import BySeed, contrasts
from running.markdown import line, p_value, percent, plus_minus, table

_TITLES = {
    "joint": "joint training",
    "inforeg": "InfoReg, the paper's window",
    "official": "InfoReg, published code",
    "auto_balance": "AutoBalance",
    "unimodal_losses": "unimodal losses, shared head",
}
_K = 0.04
"""By how much a trace has to rise for a window, as in the paper."""


def pretrained_tables(kept: Mapping[str, Any]) -> str:
    """Accuracies of every regime and method, and below them what became of the window."""
    return "\n".join([*_accuracies(kept["rows"]), "", *_windows(kept["windows"])])


def _accuracies(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    gains: dict[str, BySeed] = {"": {}}
    for regime, methods in rows.items():
        joint = _by_seed(methods["joint"])
        for method in [m for m in methods if m != "joint"]:
            own = _by_seed(methods[method])
            gains[f"{regime}, {method}"] = {seed: own[seed] - joint[seed] for seed in joint}
    gains[""] = {seed: 0.0 for found in gains.values() for seed in found}
    compared = contrasts(gains, "")  # against nothing: these are differences already
    lines = [
        line(["regime", "method", "fused", "to joint", "p (Holm)", "verdict", "audio", "image"]),
        line(["---", "---", "---:", "---:", "---:", "---", "---:", "---:"]),
    ]
    for regime, methods in rows.items():
        for method, row in methods.items():
            found = compared.get(f"{regime}, {method}")
            against = ["", "", ""]
            if found is not None:
                against = [plus_minus(found.difference), p_value(found.p), found.verdict()]
            probes = [percent(row[f"probe_{m}"]) for m in ("audio", "image")]
            cells = [regime, _TITLES[method], percent(row["accuracy"]), *against, *probes]
            lines.append(line(cells))
    seeds = len(gains[""])
    return [
        *lines,
        "",
        f"{seeds} paired seeds, test accuracy in %, last epoch, mean ± 95 % t interval; audio and "
        "image: probes. To joint: points over",
        f"joint training of the same regime, with intervals that hold for all {len(compared)} at "
        "once (Bonferroni).",
    ]


def _windows(windows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    head = ["regime", "seeds with a window", "trace of epoch 0 by its peak", "epochs in the window"]
    rows = []
    for regime, of in windows.items():
        traces: Mapping[str, Sequence[Sequence[float]]] = of["trace"]
        rises = [
            any((trace[1] - trace[0]) / trace[1] > _K for trace in of_seed)
            for of_seed in zip(*traces.values(), strict=True)
        ]
        starts = [
            f"{m} {fmean(t[0] / max(t) for t in by_seed):.2f}" for m, by_seed in traces.items()
        ]
        opened = [fmean(map(sum, of["in_window"][m])) for m in traces]
        epochs = ", ".join(f"{m} {n:.1f}" for m, n in zip(traces, opened, strict=True))
        rows.append([regime, f"{sum(rises)} of {len(rises)}", ", ".join(starts), epochs])
    return table(head, rows)


def _by_seed(row: Mapping[str, Any]) -> dict[int, float]:
    return dict(zip(row["seeds"], row["accuracy"], strict=True))
