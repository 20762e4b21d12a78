"""All methods beside each other: each with its paper's defaults, and with the best of a small grid.

Twice: with the joint loss only, and with unimodal losses. The grid, fixed here before anything ran,
is two values besides the default; a method's best has the highest mean validation accuracy of the
last epoch over the first seeds, and the default wins a tie. Nothing is chosen on the test set.
Finished runs are kept, so that an interrupted comparison goes on where it was.

    python experiments/compare.py                        # AV-Digits, 5 seeds, hours on 2 cores
    python experiments/compare.py --methods ogm agm --seeds 0 1 2 experiment=cremad
"""

import argparse
import os
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from comparison import Run, read, table, write
from workers import train_all

GRID: dict[str, tuple[tuple[str, ...], ...]] = {
    "none": (),
    "inforeg": (("callbacks.inforeg.K=0.01",), ("callbacks.inforeg.beta=0.5",)),
    "ogm": (("callbacks.ogm.alpha=0.3",), ("callbacks.ogm.alpha=0.8",)),
    "ogm_ge": (("callbacks.ogm_ge.alpha=0.3",), ("callbacks.ogm_ge.alpha=0.8",)),
    "greedy": (("callbacks.greedy.tolerance=0.001",), ("callbacks.greedy.tolerance=0.1",)),
    "pmr": (("callbacks.pmr.alpha=0.3",), ("callbacks.pmr.alpha=3.0",)),
    "agm": (("callbacks.agm.alpha=0.2",), ("callbacks.agm.alpha=3.0",)),
    "mslr": (("callbacks.mslr.rates=[0.5,1.5]",), ("callbacks.mslr.rates=[0.25,1.75]",)),
    "gblending": (("callbacks.gblending.super_epoch=2",), ("callbacks.gblending.super_epoch=5",)),
    "mmpareto": (("callbacks.mmpareto.gamma=1.0",), ("callbacks.mmpareto.gamma=2.0",)),
}
BRING_UNIMODAL_LOSSES = ("gblending", "mmpareto")
LOSSES = {"joint loss only": (), "with unimodal losses": ("model.unimodal_losses=true",)}


def main() -> int:
    """Train what is missing and write the comparison; 1 where a run failed."""
    arguments = _arguments()
    os.environ["OMP_NUM_THREADS"] = "1"  # runs beside each other must not fight for cores
    arguments.runs.mkdir(parents=True, exist_ok=True)
    searched = arguments.seeds[: arguments.search_seeds]
    runs: dict[Run, dict[str, Any]] = {}
    for wanted in (
        [*_defaults(arguments.methods, arguments.seeds)],
        [*_others(arguments.methods, searched)],
    ):
        runs |= _train(wanted, arguments)
    best = _best(runs, searched)
    runs |= _train([run.with_seed(s) for run in best.values() for s in arguments.seeds], arguments)
    if any(runs.values()):
        command = shlex.join(["python", "experiments/compare.py", *sys.argv[1:]])
        path = write(arguments.runs / "comparison.json", runs, best, command)
        print(table(runs, best, [*LOSSES]))
        print(f"Every seed is in {path}.")
    missing = [run for run, result in runs.items() if not result]
    for run in missing:
        log = arguments.runs / "compare.log"
        print(f"failed: {' '.join(run.overrides)}, {run.losses} (see {log})")
    return 1 if missing else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", help="overrides for all runs, as of train.py")
    parser.add_argument("--methods", nargs="+", default=[*GRID], choices=[*GRID])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument("--search-seeds", type=int, default=2, help="how many of them search")
    parser.add_argument("--runs", type=Path, default=Path("runs/methods"))
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes")
    return parser.parse_args()


def _defaults(methods: Sequence[str], seeds: Iterable[int]) -> Iterable[Run]:
    # Seed by seed, so that an early end leaves whole comparisons.
    for seed in seeds:
        for losses in LOSSES:
            for method in _of(methods, losses):
                yield Run(method, losses, (), seed)


def _others(methods: Sequence[str], seeds: Iterable[int]) -> Iterable[Run]:
    for seed in seeds:
        for losses in LOSSES:
            for method in _of(methods, losses):
                for values in GRID[method]:
                    yield Run(method, losses, values, seed)


def _of(methods: Sequence[str], losses: str) -> list[str]:
    """Those that are methods of a loss: two bring unimodal losses with them."""
    return [m for m in methods if LOSSES[losses] or m not in BRING_UNIMODAL_LOSSES]


def _best(runs: Mapping[Run, Mapping[str, Any]], seeds: Sequence[int]) -> dict[tuple, Run]:
    """Method and losses -> the run (of any seed) with the best of its grid."""
    found: dict[tuple[str, str], Run] = {}
    scores: dict[tuple[str, str], float] = {}
    for run in runs:  # defaults come first, and only a better one replaces them
        results = [runs.get(run.with_seed(seed)) for seed in seeds]
        if run.seed != seeds[0] or not all(results):
            continue
        score = mean(result["last"]["val"]["accuracy"] for result in results if result)
        if score > scores.get(run.group, -1.0):
            found[run.group], scores[run.group] = run, score
    return found


def _train(wanted: Sequence[Run], arguments: argparse.Namespace) -> dict[Run, dict[str, Any]]:
    """Train runs, each unless it is there; an empty result is one that failed."""
    wanted = [*dict.fromkeys(wanted)]
    common = [*arguments.overrides, f"runs={arguments.runs}"]
    jobs = [[*run.overrides, *LOSSES[run.losses], *common] for run in wanted]
    results: dict[Run, dict[str, Any]] = {run: {} for run in wanted}
    done = 0
    for event in train_all(jobs, max(1, arguments.workers), arguments.runs / "compare.log"):
        if event.kind == "done":
            results[wanted[event.job]] = read(event.detail)
        if event.kind in ("done", "failed"):
            done += 1
            failed = "" if event.kind == "done" else f": failed, {event.detail}"
            print(f"{done}/{len(jobs)} {' '.join(jobs[event.job][:4])}{failed}", flush=True)
    return results


if __name__ == "__main__":
    sys.exit(main())
