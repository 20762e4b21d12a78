"""Run folders as ``experiments/train.py`` writes them."""

import csv
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.metrics import imbalance

CHECKPOINTS = ("last", "best")
"""The last epoch, and the one with the best validation accuracy."""


@dataclass(frozen=True)
class Features:
    """What the encoders made of some samples of the test set, after the last epoch.

    Attributes:
        values: Modality -> features, ``(N, D)``.
        label: True class of each sample, ``(N,)``.
        class_names: Class -> its name.
    """

    values: Mapping[str, NDArray[Any]]
    label: NDArray[Any]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        folder: Its folder.
        result: What ``result.json`` holds.
        history: The callback's history, one dict a period; empty without a callback.
        curves: Metric -> epoch -> value, from ``metrics.csv``.
    """

    folder: Path
    result: Mapping[str, Any]
    history: list[dict[str, Any]] = field(default_factory=list)
    curves: Mapping[str, Mapping[int, float]] = field(default_factory=dict)

    @property
    def experiment(self) -> str:
        """The recipe it belongs to; runs of two recipes are never compared."""
        return str(self.result["experiment"])

    @property
    def group(self) -> tuple[str, str]:
        """Method, and the overrides that tell it from the recipe: all but the seed."""
        return str(self.result["method"]), str(self.result.get("variant", ""))

    @property
    def seed(self) -> int:
        """The run's seed."""
        return int(self.result["seed"])

    @property
    def modalities(self) -> tuple[str, ...]:
        """Names of the modalities, in the model's order."""
        return tuple(self.result["modalities"])

    def value(self, checkpoint: str, quantity: str) -> float | None:
        """A test accuracy, as a fraction.

        Args:
            checkpoint: One of ``CHECKPOINTS``.
            quantity: ``"accuracy"`` (fused), ``"accuracy_<modality>"`` (the head's share),
                ``"probe_<modality>"`` (linear probe) or ``"imbalance"`` (of the heads' shares,
                best − worst).

        Returns:
            The value, or ``None`` if this run has none.
        """
        part = self.result[checkpoint]
        if quantity == "imbalance":
            heads = {m: part["test"].get(f"accuracy_{m}") for m in self.modalities}
            whole = len(heads) > 1 and None not in heads.values()
            found = imbalance(heads) if whole else None
        elif quantity.startswith("probe_"):
            found = part.get("probe", {}).get(quantity.removeprefix("probe_"))
        else:
            found = part["test"].get(quantity)
        return None if found is None else float(found)

    def features(self) -> Features | None:
        """Read the features that the run kept (``features.npz``), or ``None`` without them."""
        path = self.folder / "features.npz"
        if not path.exists():
            return None
        with np.load(path) as file:
            values = {m: file[f"feature_{m}"] for m in self.modalities if f"feature_{m}" in file}
            return Features(values, file["label"], tuple(map(str, file["class_names"])))


@dataclass(frozen=True)
class Unreadable:
    """A run folder that cannot be used, and why."""

    folder: Path
    reason: str


def load_runs(roots: Iterable[Path]) -> tuple[list[Run], list[Unreadable]]:
    """Find and read all run folders below some folders.

    Args:
        roots: Folders to search; each may be a run folder itself.

    Returns:
        The finished runs, and the folders that are unfinished, broken or repeat another run;
        both sorted by folder.

    Raises:
        FileNotFoundError: One of ``roots`` does not exist.
    """
    folders: set[Path] = set()
    for root in roots:
        if not root.is_dir():
            raise FileNotFoundError(f"RUNS: there is no folder {root}; train something first")
        # A folder with a configuration and no result is a run that did not finish.
        for name in ("result.json", "config.yaml"):
            folders |= {path.parent for path in root.rglob(name)}
    # A report may lie among its runs; its own result.json is a summary.
    folders = {folder for folder in folders if not (folder / "report.html").exists()}
    runs: dict[tuple[object, ...], Run] = {}
    unreadable: list[Unreadable] = []
    for folder in sorted(folders):
        try:
            run = _read(folder)
        except (OSError, ValueError) as error:
            unreadable.append(Unreadable(folder, str(error)))
            continue
        key = (run.experiment, *run.group, run.seed)
        if key in runs:
            unreadable.append(Unreadable(folder, f"repeats the run in {runs[key].folder}"))
        else:
            runs[key] = run
    return list(runs.values()), unreadable


def _read(folder: Path) -> Run:
    if not (folder / "result.json").exists():
        raise ValueError("unfinished: it has no result.json")
    result = _json(folder / "result.json", dict)
    expected = ("experiment", "method", "title", "seed", "modalities", "epochs", *CHECKPOINTS)
    if missing := [key for key in expected if key not in result]:
        raise ValueError(f"result.json lacks {', '.join(missing)}")
    if incomplete := [c for c in CHECKPOINTS if "accuracy" not in result[c].get("test", {})]:
        raise ValueError(f"result.json has no test accuracy for {', '.join(incomplete)}")
    if not (folder / "metrics.csv").exists():
        raise ValueError("it has no metrics.csv")
    history = _json(folder / "history.json", list) if (folder / "history.json").exists() else []
    return Run(folder, result, history, _curves(folder / "metrics.csv"))


def _json(path: Path, kind: type) -> Any:
    try:
        content = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name} is not valid JSON ({error})") from None
    if not isinstance(content, kind):
        raise ValueError(f"{path.name} must hold a {kind.__name__}, not {type(content).__name__}")
    return content


def _curves(path: Path) -> dict[str, dict[int, float]]:
    curves: dict[str, dict[int, float]] = {}
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            if not row.get("epoch"):
                continue
            for name, value in row.items():
                # Lightning spreads an epoch over several rows, each with gaps.
                if value and name not in ("epoch", "step"):
                    curves.setdefault(name, {})[int(row["epoch"])] = float(value)
    return curves
