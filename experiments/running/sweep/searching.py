"""Carry out a sweep: check its configurations, search, and write what was found."""

import importlib.util
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from inforeg_lightning.report.folder import write_json
from running.building import build_data
from running.checks import check
from running.claim import locked
from running.compose import composed
from running.errors import RecipeError
from running.secrets import public_overrides
from running.sweep.picture import best_of, draw, table
from running.sweep.space import Params, Searched, split
from running.sweep.trials import Sweep, carry_on, summary


def search(
    method: str,
    overrides: Sequence[str],
    seeds: Sequence[int],
    trials: int,
    workers: int | None,
    out: Path | None,
) -> Path:
    """Search the parameters of a method.

    Args:
        method: File of ``conf/callbacks``.
        overrides: Of every run, and those that are searched.
        seeds: Of each point.
        trials: How many, where an interval is searched.
        workers: Points side by side; ``None`` for one per core.
        out: Folder of the journal and the report; by default one among the runs.

    Returns:
        The folder.

    Raises:
        RecipeError: Optuna is not there, something cannot run, or another process carries out the
            same sweep.
    """
    if importlib.util.find_spec("optuna") is None:
        raise RecipeError(
            "a sweep needs Optuna, which is not installed: pip install 'inforeg-lightning[sweep]'"
        )
    fixed, searched = split(overrides)
    ends = [Sweep(method, tuple(fixed), tuple(searched), tuple(seeds), Path())]
    jobs = [ends[0].overrides(_corner(searched, high), seeds[0]) for high in (False, True)]
    for cfg, _ in composed(jobs):
        check(cfg)
    build_data(cfg).prepare_data()  # once for all runs
    folder = out or Path(cfg.runs) / "studies" / cfg.name / "sweep" / method
    sweep = Sweep(method, tuple(fixed), tuple(searched), tuple(seeds), folder)
    if cfg.threads == 1:
        os.environ["OMP_NUM_THREADS"] = "1"  # points side by side must not fight for cores
    refused = f"{folder}: another process carries out this sweep; wait for its end"
    with locked(folder / ".lock", refused):
        carry_on(sweep, trials, workers or len(os.sched_getaffinity(0)))
        _report(sweep)
    return folder


def _report(sweep: Sweep) -> None:
    points = summary(sweep)
    best = best_of(points)
    command = public_overrides(["experiments/study.py", *sys.argv[1:]])
    write_json(
        sweep.folder / "result.json",
        {
            "command": shlex.join(["python", *command]),
            "method": sweep.method,
            "seeds": [*sweep.seeds],
            "points": points,
            "best on validation": None if best is None else best["params"],
        },
    )
    print(table(points, sweep.searched))
    if best is not None:
        draw(points, sweep.searched).savefig(sweep.folder / "sweep.png", dpi=130)
        print(f"Picture: {(sweep.folder / 'sweep.png').resolve()}")


def _corner(searched: Sequence[Searched], high: bool) -> Params:
    """A point at the end of everything that is searched."""
    return {
        of.key: of.choices[-1 if high else 0] if of.choices else (of.high if high else of.low)
        for of in searched
    }
