"""What `compare.py` has trained, as a file with every seed and as a table."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inforeg_lightning.metrics import imbalance
from inforeg_lightning.report.statistics import mean_interval, paired_difference
from run_folder import write_json


@dataclass(frozen=True)
class Run:
    """One run of a comparison.

    Args:
        method: A file of ``conf/callbacks``.
        losses: What it is trained on, as the tables are called.
        values: Overrides of its hyperparameters; none are the defaults.
        seed: Its seed.
    """

    method: str
    losses: str
    values: tuple[str, ...]
    seed: int

    @property
    def group(self) -> tuple[str, str]:
        """Among what the best of a grid is chosen."""
        return self.method, self.losses

    @property
    def overrides(self) -> list[str]:
        """As on the command line of ``train.py``."""
        return [f"callbacks={self.method}", *self.values, f"seed={self.seed}"]

    def with_seed(self, seed: int) -> "Run":
        """The same with another seed."""
        return replace(self, seed=seed)


def read(folder: Path) -> dict[str, Any]:
    """The result of a finished run."""
    result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    return result


def metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """What is compared of a run, at its last epoch, as fractions of the test set.

    ``imbalance`` is that of the heads.
    """
    last = result["last"]
    heads = {m: last["test"][f"accuracy_{m}"] for m in result["modalities"]}
    return (
        {"fused": last["test"]["accuracy"]}
        | {f"{m}, head": value for m, value in heads.items()}
        | {f"{m}, probe": last["probe"][m] for m in result["modalities"]}
        | {"imbalance": imbalance(heads)}
    )


def table(
    runs: Mapping[Run, Mapping[str, Any]],
    best: Mapping[tuple[str, str], Run],
    losses: Sequence[str],
) -> str:
    """One Markdown table for each loss: mean ± 95 % t interval, differences paired by seed."""
    lines: list[str] = []
    for loss in losses:
        rows = _rows(runs, best, loss)
        if not rows:
            continue
        columns = [*next(iter(rows[0][1].values()))]
        head = ["method", *columns[:1], "to joint training", *columns[1:]]
        lines += [f"**{loss[0].upper()}{loss[1:]}**", "", "| " + " | ".join(head) + " |"]
        lines.append("|---" + "|---:" * (len(head) - 1) + "|")
        joint = next((by_seed for title, by_seed in rows if title == "Joint training"), {})
        for title, by_seed in rows:
            cells = [_cell([of[c] for of in by_seed.values()]) for c in columns]
            difference = paired_difference(
                {seed: of["fused"] for seed, of in by_seed.items()},
                {seed: of["fused"] for seed, of in joint.items()},
            )
            change = "" if by_seed is joint or difference is None else _signed(difference)
            lines.append("| " + " | ".join([title, cells[0], change, *cells[1:]]) + " |")
        lines.append("")
    return "\n".join(lines)


def write(
    path: Path,
    runs: Mapping[Run, Mapping[str, Any]],
    best: Mapping[tuple[str, str], Run],
    command: str,
) -> Path:
    """Write every run's metrics, and what the grid chose."""
    some = next(result for result in runs.values() if result)
    write_json(
        path,
        {
            "command": command,
            "machine": f"{some['machine']['cores']}-core CPU, one thread a run",
            "unit": "fraction of the test split, last epoch; val: of the validation split",
            "chosen": [
                {"method": m, "losses": loss, "values": [*run.values]}
                for (m, loss), run in best.items()
            ],
            "runs": [
                {
                    "method": run.method,
                    "losses": run.losses,
                    "values": [*run.values],
                    "seed": run.seed,
                    "val": result["last"]["val"]["accuracy"],
                    **metrics(result),
                }
                for run, result in runs.items()
                if result
            ],
        },
    )
    return path


def _rows(
    runs: Mapping[Run, Mapping[str, Any]], best: Mapping[tuple[str, str], Run], loss: str
) -> list[tuple[str, dict[int, dict[str, float]]]]:
    rows = []
    for method in dict.fromkeys(run.method for run in runs):
        settings = {(): ""}
        if (method, loss) in best and best[method, loss].values:
            settings[best[method, loss].values] = ", best of grid"
        for values, remark in settings.items():
            found = {
                run.seed: result
                for run, result in runs.items()
                if (run.method, run.losses, run.values) == (method, loss, values) and result
            }
            if found:
                title = next(iter(found.values()))["title"] + remark
                rows.append((title, {seed: metrics(r) for seed, r in sorted(found.items())}))
    return rows


def _cell(values: Sequence[float]) -> str:
    interval = mean_interval([100 * value for value in values])
    half = interval.half_width
    return f"{interval.mean:.1f}" + ("" if half is None else f" ± {half:.1f}")


def _signed(interval: Any) -> str:
    text = f"{100 * interval.mean:+.1f}".replace("-", "−")
    half = interval.half_width
    return text + ("" if half is None else f" ± {100 * half:.1f}")
