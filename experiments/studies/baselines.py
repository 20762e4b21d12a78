"""What needs no method: each modality alone, their ensembles, and joint training from them.

Other studies take these rows from here: :func:`alone`, :func:`pretrained` and :func:`ensembles`.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from running.study import Job, Results, Study

if TYPE_CHECKING:
    from inforeg_lightning.report import Run, Summary

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


def plan(methods: Sequence[str], seeds: Sequence[int]) -> Iterator[Job]:
    """Joint training, and each modality alone."""
    for seed in seeds:
        yield from (Job((f"callbacks={method}",), seed) for method in methods)
        yield from (alone(modality).with_seed(seed) for modality in MODALITIES)


def further(seeds: Sequence[int], results: Results) -> Iterable[Job]:
    """What begins from the modalities alone, of the seeds that have them."""
    whole = [s for s in seeds if all(alone(m).with_seed(s) in results for m in MODALITIES)]
    return [pretrained(frozen=frozen).with_seed(s) for s in whole for frozen in (False, True)]


def tabulate(seeds: Sequence[int], results: Results) -> "list[Summary]":
    """All of them as one summary."""
    from inforeg_lightning.report import summarise

    members = [alone(modality) for modality in MODALITIES]
    return [*summarise([*results.values(), *ensembles(seeds, results, members)])]


STUDY = Study(
    "what needs no method: each modality alone, their ensembles, joint training from them",
    methods=("none",),
    seeds=(0, 1, 2, 3, 4),
    plan=plan,
    further=further,
    tabulate=tabulate,
)
