"""A folder of finished runs, from which a diagnosis goes on: one JSON and one NPZ each."""

import json
import os
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from inforeg_lightning.diagnosis.errors import DiagnosisError
from inforeg_lightning.diagnosis.setup import Job, Run, Setup

_DIAGNOSIS = "diagnosis.json"


class RunFolder:
    """Where the runs of one setup are kept.

    Args:
        path: The folder; made if missing.
        setup: Whose runs they are.

    Raises:
        DiagnosisError: It holds runs of another setup.
    """

    def __init__(self, path: Path, setup: Setup) -> None:
        self.path = path
        self.fingerprint = setup.fingerprint
        path.mkdir(parents=True, exist_ok=True)
        for file in sorted(path.glob("*.run.json")):
            found = _read(file).get("fingerprint")
            if found is not None and found != self.fingerprint:
                raise DiagnosisError(
                    f"`folder`: {path} holds runs of other arguments (encoders, head, max_epochs, "
                    "fraction or trainer); give another folder, or remove this one"
                )

    def load(self, job: Job) -> Run | None:
        """A finished run; ``None`` if there is none that is whole."""
        info = _read(self.path / f"{job.file}.run.json")
        if not info:
            return None
        try:
            with np.load(self.path / f"{job.file}.npz", allow_pickle=False) as arrays:
                return Run(job, info["info"], dict(arrays))
        except (OSError, ValueError, KeyError, BadZipFile):
            return None

    def save(self, run: Run) -> None:
        """Keep a run; its JSON is written last, so that what has one is whole."""
        for suffix in (".npz", ".run.json"):
            target = self.path / f"{run.job.file}{suffix}"
            new = target.with_name(f".{target.name}.{os.getpid()}")
            if suffix == ".npz":
                with new.open("wb") as file:
                    np.savez_compressed(file, **run.arrays)
            else:
                content = {"fingerprint": self.fingerprint, "run": run.job.name, "info": run.info}
                new.write_text(json.dumps(content), encoding="utf-8")
            new.replace(target)

    def save_diagnosis(self, content: Any) -> None:
        """Keep the diagnosis beside its runs."""
        new = self.path / f".{_DIAGNOSIS}.{os.getpid()}"
        new.write_text(json.dumps(content, indent=1), encoding="utf-8")
        new.replace(self.path / _DIAGNOSIS)


def _read(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
