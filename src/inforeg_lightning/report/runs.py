"""Finished runs below some folders; a folder that cannot be used is listed with its reason."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inforeg_lightning.diagnosis.report import Diagnosis
from inforeg_lightning.metrics import imbalance
from inforeg_lightning.report.folder import (
    CONFIG,
    RESULT,
    Features,
    read_curves,
    read_features,
    read_history,
    read_result,
)
from inforeg_lightning.report.measures import metric_of
from inforeg_lightning.report.schema import FolderError, check_table


@dataclass(frozen=True)
class Run:
    """One finished run.

    Attributes:
        folder: Its folder.
        result: What ``result.json`` holds.
        history: The callback's history, one dict per period; empty without a callback.
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

    @property
    def metric(self) -> str:
        """The metric that runs of this kind are compared by, ``"accuracy"`` of classes."""
        return metric_of(self.result)

    def value(self, checkpoint: str, quantity: str) -> float | None:
        """A test value; an accuracy is a fraction.

        Args:
            checkpoint: ``"last"`` or ``"best"``.
            quantity: The run's ``metric`` or a further one, as ``"macro_f1"`` (fused),
                ``"<metric>_<modality>"`` (the head's share), ``"probe_<modality>"`` (linear probe)
                or ``"imbalance"`` (of the heads' shares, largest − smallest).

        Returns:
            The value, or ``None`` if this run has none.
        """
        part = self.result[checkpoint]
        if quantity == "imbalance":
            heads = {m: part["test"].get(f"{self.metric}_{m}") for m in self.modalities}
            whole = len(heads) > 1 and None not in heads.values()
            found = imbalance(heads) if whole else None
        elif quantity.startswith("probe_"):
            found = part.get("probe", {}).get(quantity.removeprefix("probe_"))
        else:
            found = part["test"].get(quantity)
        return None if found is None else float(found)

    def validation(self, checkpoint: str) -> float | None:
        """The metric on validation, by which alone anything may be chosen."""
        found = self.result[checkpoint].get("val", {}).get(self.metric)
        return None if found is None else float(found)

    def features(self) -> Features | None:
        """Read the features that the run kept, or ``None`` without them.

        Raises:
            FolderError: There are some, and they cannot be used.
        """
        return read_features(self.folder, self.modalities)


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
        The finished runs, and the folders that are unfinished, diverged, broken or repeat another
        run; both sorted by folder.

    Raises:
        FileNotFoundError: One of ``roots`` does not exist.
    """
    folders: set[Path] = set()
    for root in roots:
        if not root.is_dir():
            raise FileNotFoundError(f"RUNS: there is no folder {root}; train something first")
        # A folder with a configuration and no result is a run that did not finish.
        for name in (RESULT, CONFIG):
            folders |= {path.parent for path in root.rglob(name)}
    # A report may lie among its runs; its own result.json is a summary. A hidden folder is of a run
    # that is being replaced.
    folders = {
        folder
        for folder in folders
        if not (folder / "report.html").exists() and not folder.name.startswith(".")
    }
    runs: dict[tuple[object, ...], Run] = {}
    unreadable: list[Unreadable] = []
    for folder in sorted(folders):
        try:
            run = load_run(folder)
        except (FolderError, OSError) as error:
            unreadable.append(Unreadable(folder, str(error)))
            continue
        key = (run.experiment, *run.group, run.seed)
        if key in runs:
            unreadable.append(Unreadable(folder, f"repeats the run in {runs[key].folder}"))
        else:
            runs[key] = run
    return list(runs.values()), unreadable


def load_run(folder: Path) -> Run:
    """Read one run folder.

    Raises:
        FolderError: It is unfinished, diverged or broken.
    """
    result = read_result(folder)
    if "diverged" in result:
        raise FolderError(str(result["diverged"]))
    return Run(folder, result, read_history(folder), read_curves(folder))


def load_diagnoses(roots: Iterable[Path]) -> tuple[dict[str, Diagnosis], list[Unreadable]]:
    """Find the diagnoses below some folders, as ``diagnose.py`` leaves them.

    Returns:
        Experiment -> its diagnosis; and the folders of those that cannot be used.
    """
    found: dict[str, Diagnosis] = {}
    unreadable: list[Unreadable] = []
    for path in sorted({path for root in roots for path in root.rglob("diagnosis.json")}):
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            diagnosis = Diagnosis.from_dict(content)
            check_table(diagnosis.table)
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            reason = f"diagnosis.json is not a diagnosis ({type(error).__name__}: {error!s:.200})"
            unreadable.append(Unreadable(path.parent, reason))
            continue
        found[path.resolve().parent.parent.name] = diagnosis
    return found, unreadable
