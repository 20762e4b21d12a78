"""Runs that belong together."""

from dataclasses import dataclass

from inforeg_lightning.report.runs import Run


@dataclass(frozen=True)
class Group:
    """Runs that differ only by their seed, sorted by it; ``title`` is their name for readers."""

    runs: tuple[Run, ...]
    title: str

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds."""
        return tuple(run.seed for run in self.runs)

    def values(self, checkpoint: str, quantity: str) -> dict[int, float]:
        """Seed -> test value, of the runs that have it."""
        found = {run.seed: run.value(checkpoint, quantity) for run in self.runs}
        return {seed: value for seed, value in found.items() if value is not None}

    def validations(self, checkpoint: str) -> dict[int, float]:
        """Seed -> validation value of the metric, of the runs that have it."""
        found = {run.seed: run.validation(checkpoint) for run in self.runs}
        return {seed: value for seed, value in found.items() if value is not None}
