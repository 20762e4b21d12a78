"""AutoBalance beside joint training, unimodal losses and DGL; its protocol is in evidence/."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from running.study import Job, Results, Study

if TYPE_CHECKING:
    from inforeg_lightning.report import Run, Summary

UNIMODAL_LOSSES = ("callbacks=none", "model.unimodal_losses=true")


def plan(methods: Sequence[str], seeds: Sequence[int]) -> Iterable[Job]:
    """Seed by seed, so that an early end leaves whole comparisons."""
    for seed in seeds:
        yield from (Job((f"callbacks={method}",), seed) for method in methods)
        yield Job(UNIMODAL_LOSSES, seed)


def tabulate(seeds: Sequence[int], results: Results) -> "list[Summary]":
    """One table, in which unimodal losses are a method of their own, compared with joint."""
    from inforeg_lightning.report import summarise

    return summarise(
        _titled(run) if job.overrides == UNIMODAL_LOSSES else run for job, run in results.items()
    )


def _titled(run: "Run") -> "Run":
    named = {"method": "unimodal_losses", "variant": "", "title": "Unimodal losses, shared head"}
    return replace(run, result={**run.result, **named})


STUDY = Study(
    "AutoBalance beside joint training, unimodal losses and DGL",
    methods=("none", "auto_balance", "dgl"),
    seeds=tuple(range(10)),
    plan=plan,
    tabulate=tabulate,
)
