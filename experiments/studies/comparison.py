"""All methods beside each other: each with its paper's defaults, and the best of a small grid.

Twice: with the joint loss only, and with unimodal losses. The grid, fixed here before anything ran,
is two values besides the default; a method's best has the highest mean validation accuracy of the
last epoch over the first seeds, and the default wins a tie. Nothing is chosen on the test set.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from statistics import mean
from typing import TYPE_CHECKING

from running.study import Job, Results, Study

if TYPE_CHECKING:
    from inforeg_lightning.report import Run, Summary

GRID: dict[str, tuple[str, ...]] = {
    "none": (),
    "inforeg": ("callbacks.inforeg.K=0.01", "callbacks.inforeg.beta=0.5"),
    "ogm": ("callbacks.ogm.alpha=0.3", "callbacks.ogm.alpha=0.8"),
    "ogm_ge": ("callbacks.ogm_ge.alpha=0.3", "callbacks.ogm_ge.alpha=0.8"),
    "greedy": ("callbacks.greedy.tolerance=0.001", "callbacks.greedy.tolerance=0.1"),
    "pmr": ("callbacks.pmr.alpha=0.3", "callbacks.pmr.alpha=3.0"),
    "agm": ("callbacks.agm.alpha=0.2", "callbacks.agm.alpha=3.0"),
    "mslr": ("callbacks.mslr.rates=[0.5,1.5]", "callbacks.mslr.rates=[0.25,1.75]"),
    "gblending": ("callbacks.gblending.super_epoch=2", "callbacks.gblending.super_epoch=5"),
    "mmpareto": ("callbacks.mmpareto.gamma=1.0", "callbacks.mmpareto.gamma=2.0"),
}
BRING_UNIMODAL_LOSSES = ("gblending", "mmpareto")
LOSSES = {"joint loss only": (), "with unimodal losses": ("model.unimodal_losses=true",)}
SEARCH_SEEDS = 2


def plan(methods: Sequence[str], seeds: Sequence[int]) -> Iterator[Job]:
    """All defaults over all seeds, then the grids over the seeds that search."""
    for seed in seeds:
        yield from (settings(m, losses)[0].with_seed(seed) for m, losses in compared(methods))
    for seed in searching(seeds):
        for method, losses in compared(methods):
            yield from (job.with_seed(seed) for job in settings(method, losses)[1:])


def further(seeds: Sequence[int], results: Results) -> Iterable[Job]:
    """The best of each grid over all seeds."""
    return [best.with_seed(seed) for best in chosen(seeds, results).values() for seed in seeds]


def tabulate(seeds: Sequence[int], results: Results) -> "list[Summary]":
    """One summary per loss: every method with its defaults, and with the best of its grid."""
    from inforeg_lightning.report import summarise

    best = chosen(seeds, results)
    summaries: list[Summary] = []
    for losses in LOSSES:
        runs: list[Run] = []
        for method in dict.fromkeys(method_of(job) for job in results):
            if method in BRING_UNIMODAL_LOSSES and not LOSSES[losses]:
                continue
            default = settings(method, losses)[0]
            picked = best.get((method, losses), default)
            for job, remark in {default: "", picked: ", best of grid"}.items():
                title = "" if job == default else remark
                runs += [
                    _titled(results[job.with_seed(seed)], losses, title)
                    for seed in seeds
                    if job.with_seed(seed) in results
                ]
        summaries += summarise(runs)
    return summaries


def chosen(seeds: Sequence[int], results: Results) -> dict[tuple[str, str], Job]:
    """Method and losses -> the setting of the best mean validation accuracy, with the seed 0."""
    found = {}
    for method, losses in compared(dict.fromkeys(method_of(job) for job in results)):
        scores = {}
        for job in settings(method, losses):
            runs = [results.get(job.with_seed(seed)) for seed in searching(seeds)]
            values = [None if run is None else run.validation("last") for run in runs]
            if all(value is not None for value in values):
                scores[job] = mean(value for value in values if value is not None)
        if scores:
            found[method, losses] = max(scores, key=scores.__getitem__)  # the first of equals
    return found


def compared(methods: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Methods and losses; two methods bring unimodal losses with them."""
    for losses in LOSSES:
        for method in methods:
            if LOSSES[losses] or method not in BRING_UNIMODAL_LOSSES:
                yield method, losses


def settings(method: str, losses: str) -> list[Job]:
    """A method with its defaults, then with each other value of its grid."""
    points = ((), *((value,) for value in GRID.get(method, ())))
    own = () if method in BRING_UNIMODAL_LOSSES else LOSSES[losses]
    return [Job((f"callbacks={method}", *own, *point), 0) for point in points]


def searching(seeds: Sequence[int]) -> Sequence[int]:
    """The seeds over which the grids are searched."""
    return seeds[:SEARCH_SEEDS]


def method_of(job: Job) -> str:
    """The method of a run, whose override is its first."""
    return job.overrides[0].removeprefix("callbacks=")


def _titled(run: "Run", losses: str, remark: str) -> "Run":
    experiment, title = f"{run.experiment}, {losses}", f"{run.result['title']}{remark}"
    return replace(run, result={**run.result, "experiment": experiment, "title": title})


STUDY = Study(
    "all methods with their defaults and the best of a small grid",
    methods=tuple(GRID),
    seeds=(0, 1, 2, 3, 4),
    plan=plan,
    further=further,
    tabulate=tabulate,
)
