"""The plain baselines as jobs of a study, and their ensembles as rows of its table."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from running.study import Job, Results

if TYPE_CHECKING:
    from inforeg_lightning.report import Run

MODALITIES = ("audio", "image")


def alone(modality: str, *overrides: str) -> Job:
    """One modality alone, with the seed 0."""
    return Job((f"only={modality}", *overrides), 0)


def pretrained(*overrides: str, frozen: bool) -> Job:
    """Joint training from the encoders of :func:`alone`, with the seed 0."""
    training = ("init.frozen=true",) if frozen else ()
    return Job(("callbacks=none", "init.encoders=alone", *training, *overrides), 0)


def ensembles(seeds: Sequence[int], results: Results, members: Sequence[Job]) -> "Iterator[Run]":
    """The plain and the fitted ensemble of some jobs, of each seed that has them all."""
    from running.ensembles import ensemble

    for fitted in (False, True):
        for seed in seeds:
            runs = [results.get(job.with_seed(seed)) for job in members]
            found = [run for run in runs if run is not None]
            if len(found) == len(runs):
                yield ensemble(found, fitted)
