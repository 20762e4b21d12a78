"""What all runs of a diagnosis share, and which runs there are."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from inforeg_lightning.diagnosis.data import Data
from inforeg_lightning.diagnosis.modules import Build, MakeOptimizer, adam
from inforeg_lightning.engine.checks import check_encoders
from inforeg_lightning.engine.probe.target import Target

JOINT, ALONE, LOSSES = "joint", "alone", "unimodal losses"

QUIET = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "devices": 1,
}
"""Of the Trainer, unless the user says otherwise."""


@dataclass(frozen=True)
class Setup:
    """The arguments of :func:`~inforeg_lightning.diagnosis.diagnose`, which explains them.

    What a first look has found comes besides: modality -> width of its features, and the number of
    classes.
    """

    build: Build
    data: Data
    encoders: Mapping[str, str | Sequence[str]]
    head: str
    target: Target = None
    max_epochs: int = 1
    fraction: float = 1.0
    trainer: Mapping[str, Any] = field(default_factory=dict)
    threads: int | None = None
    optimizer: MakeOptimizer = adam
    checkpoints: Mapping[int, Any] = field(default_factory=dict)
    probe_samples: int = 5000
    exact_up_to: int = 6
    widths: Mapping[str, int] = field(default_factory=dict)
    classes: int = 0

    @property
    def modalities(self) -> tuple[str, ...]:
        """Their names, in the order of ``encoders``."""
        return tuple(self.encoders)

    def epochs_of(self, kind: str) -> int:
        """How long a run of a kind trains."""
        return self.max_epochs if kind == JOINT else max(1, round(self.fraction * self.max_epochs))

    @property
    def fingerprint(self) -> str:
        """What must agree for the results in a folder to belong together."""
        known = {
            "encoders": {m: [*paths] for m, paths in check_encoders(self.encoders).items()},
            "head": self.head,
            "max_epochs": self.max_epochs,
            "fraction": self.fraction,
            "trainer": {k: str(v) for k, v in sorted(self.trainer.items())},
            "probe_samples": self.probe_samples,
        }
        return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Job:
    """A run of a diagnosis.

    Attributes:
        kind: ``"joint"``, ``"alone"`` or ``"unimodal losses"``.
        seed: Of weights and order.
        modality: The one that is trained alone.
    """

    kind: str
    seed: int
    modality: str = ""

    @property
    def name(self) -> str:
        """In words."""
        return f"{self.modality or self.kind}{' alone' if self.modality else ''}, seed {self.seed}"

    @property
    def file(self) -> str:
        """As the name of a file."""
        letters = (c if c.isalnum() else "_" for c in f"{self.kind}-{self.modality}-{self.seed}")
        return "".join(letters)


def jobs_of(setup: Setup, seeds: Sequence[int]) -> list[Job]:
    """All runs, seed by seed, so that an early end leaves whole comparisons."""
    return [
        job
        for seed in seeds
        for job in (
            Job(JOINT, seed),
            *(Job(ALONE, seed, modality) for modality in setup.modalities),
            Job(LOSSES, seed),
        )
    ]


@dataclass
class Run:
    """What one run has left.

    Attributes:
        job: Which it was.
        info: Plain data: seconds, epochs, history, problem.
        arrays: Logits and probes, by name.
    """

    job: Job
    info: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)

    @property
    def problem(self) -> str:
        """What went wrong, ``""`` if nothing."""
        return str(self.info.get("problem", ""))
