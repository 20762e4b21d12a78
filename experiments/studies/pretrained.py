"""Joint training from pretrained encoders, and regulation of it; its protocol is in evidence/.

Encoders are trained alone on one half of AV-Digits, and jointly on the other.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from running.baseline_rows import MODALITIES
from running.study import Job, Results, Study

if TYPE_CHECKING:
    from inforeg_lightning.report import Run, Summary

SET_UP = ("trainer.max_epochs=8", "++model.step_size=6")
METHODS: Mapping[str, tuple[str, ...]] = {
    "joint": ("callbacks=none",),
    "inforeg": ("callbacks=inforeg",),
    "official": ("callbacks=inforeg_official",),
    "auto_balance": ("callbacks=auto_balance",),
    "unimodal_losses": ("callbacks=none", "model.unimodal_losses=true"),
}
SCRATCH = "scratch"
REGIMES: Mapping[str, tuple[str, ...]] = {
    SCRATCH: (),
    "fine-tuned": (),
    "last block": ("init.last=1",),
    "frozen": ("init.frozen=true",),
}
"""Regime -> what it takes besides the encoders it begins from."""


def alone(modality: str) -> Job:
    """One modality on the first half, with the seed 0."""
    return Job((f"only={modality}", "+data.part=first", *SET_UP), 0)


def joint(regime: str, method: str, results: Results) -> Job | None:
    """One arm, with the seed 0; ``None`` while its encoders are not there."""
    begun: tuple[str, ...] = ()
    if regime != SCRATCH:
        places = []
        for modality in MODALITIES:
            own = alone(modality).overrides
            job = next((job for job in results if job.overrides == own), None)
            if job is None:
                return None
            # Of the same seed, whichever the run has.
            folder = str(results[job].folder).replace(f"seed={job.seed}", "seed=${seed}")
            places.append(f"{modality}:'{folder}'")
        begun = (f"init.encoders={{{','.join(places)}}}", *REGIMES[regime])
    return Job((*METHODS[method], "+data.part=second", *SET_UP, *begun), 0)


def arms() -> Iterator[tuple[str, str]]:
    """Regime and method of every arm; frozen encoders leave a method nothing to do."""
    for regime in REGIMES:
        yield from (
            (regime, method) for method in METHODS if regime != "frozen" or method == "joint"
        )


def plan(methods: Sequence[str], seeds: Sequence[int]) -> Iterator[Job]:
    """The modalities alone on the first half: all else begins from them."""
    for seed in seeds:
        yield from (alone(modality).with_seed(seed) for modality in MODALITIES)


def further(seeds: Sequence[int], results: Results) -> Iterable[Job]:
    """All arms of the seeds whose encoders are there, seed by seed."""
    whole = [s for s in seeds if all(alone(m).with_seed(s) in results for m in MODALITIES)]
    jobs = [joint(regime, method, results) for regime, method in arms()]
    return [job.with_seed(seed) for seed in whole for job in jobs if job is not None]


def by_arm(seeds: Sequence[int], results: Results) -> "dict[tuple[str, str], list[Run]]":
    """Regime and method -> the runs that there are, seed by seed."""
    found = {}
    for arm in arms():
        job = joint(*arm, results)
        jobs = [] if job is None else [job.with_seed(seed) for seed in seeds]
        found[arm] = [results[job] for job in jobs if job in results]
    return {arm: runs for arm, runs in found.items() if runs}


def tabulate(seeds: Sequence[int], results: Results) -> "list[Summary]":
    """All arms as one summary, against joint training from scratch."""
    from inforeg_lightning.report import summarise

    return summarise(
        [
            replace(run, result={**run.result, **_named(regime, method)})
            for (regime, method), runs in by_arm(seeds, results).items()
            for run in runs
        ],
        f"{SCRATCH}, joint",
    )


def _named(regime: str, method: str) -> dict[str, str]:
    title = f"{regime}: {method.replace('_', ' ')}"
    return {"method": f"{regime}, {method}", "variant": "", "title": title}


def keep(seeds: Sequence[int], results: Results) -> dict[str, Any]:
    """What is kept of it in ``results/pretrained.json``."""
    rows: dict[str, Any] = {}
    windows: dict[str, Any] = {}
    for (regime, method), runs in by_arm(seeds, results).items():
        quantities = ("accuracy", *(f"probe_{m}" for m in MODALITIES))
        rows.setdefault(regime, {})[method] = {
            "seeds": [run.seed for run in runs],
            **{q: [_rounded(run.value("last", q)) for run in runs] for q in quantities},
        }
        if method == "inforeg":
            windows[regime] = {
                quantity: {m: [[e[quantity][m] for e in run.history] for run in runs]
                           for m in MODALITIES}
                for quantity in ("trace", "in_window")
            }  # fmt: skip
    before = {
        m: [_rounded(run.value("last", f"probe_{m}")) for job, run in results.items()
            if job.overrides == alone(m).overrides]
        for m in MODALITIES
    }  # fmt: skip
    protocol = "experiments/evidence/pretrained.md"
    return {"protocol": protocol, "rows": rows, "windows": windows, "alone": before}


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


STUDY = Study(
    "joint training from pretrained encoders: is there a window still, and does regulation help?",
    methods=(),
    seeds=tuple(range(10)),
    plan=plan,
    further=further,
    tabulate=tabulate,
    keep=keep,
)
