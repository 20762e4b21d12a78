"""The trials of a sweep: kept in a journal, shared by processes, gone on with after a kill."""

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from running.compose import composed, place_of
from running.errors import RecipeError
from running.sweep.space import Params, Searched, grid, overrides_of

JOURNAL = "trials.log"
_STARTUP = 4
"""Trials that no other is given up against."""


@dataclass(frozen=True)
class Sweep:
    """What a sweep trains.

    Attributes:
        method: File of ``conf/callbacks``.
        fixed: Overrides of every run.
        searched: What is searched.
        seeds: Of each trial, whose mean validation accuracy is its value.
        folder: Where the journal lies.
    """

    method: str
    fixed: tuple[str, ...]
    searched: tuple[Searched, ...]
    seeds: tuple[int, ...]
    folder: Path

    def overrides(self, params: Params, seed: int) -> tuple[str, ...]:
        """Of the run of a point and seed."""
        return (f"callbacks={self.method}", *self.fixed, *overrides_of(params), f"seed={seed}")

    def study(self, seed: int = 0) -> Any:
        """Optuna's study of this sweep, from the journal.

        Args:
            seed: Of the sampler; one that is made again for each trial begins anew.
        """
        import optuna
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        searched = [(s.key, s.choices or [s.low, s.high, s.is_log]) for s in self.searched]
        return optuna.create_study(
            study_name=f"{self.method}: {' '.join(self.fixed)} {searched} {self.seeds}",
            storage=JournalStorage(JournalFileBackend(str(self.folder / JOURNAL))),
            sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_STARTUP),
            direction="maximize",
            load_if_exists=True,
        )


def carry_on(sweep: Sweep, trials: int, workers: int) -> None:
    """Train what is missing.

    Args:
        sweep: The sweep, which no other process carries out.
        trials: How many, where an interval is searched; a grid has its own number.
        workers: Trials side by side.
    """
    from joblib import Parallel, delayed
    from tqdm import tqdm

    missing, made = _missing(sweep, trials), len(sweep.study().get_trials(deepcopy=False))
    pool = Parallel(n_jobs=min(workers, max(missing, 1)), return_as="generator_unordered")
    if missing:
        work = pool(delayed(_one)(sweep, os.getpid(), made + i) for i in range(missing))
        for _ in tqdm(work, total=missing, desc=sweep.method):
            pass


def _missing(sweep: Sweep, trials: int) -> int:
    """How many trials are to be made, after those of a killed sweep have been given back."""
    from optuna.trial import TrialState

    study = sweep.study()
    for trial in study.get_trials(deepcopy=False, states=[TrialState.RUNNING]):
        # Its process is gone, or the lock would be held.
        study.tell(trial.number, state=TrialState.FAIL)
    done = study.get_trials(deepcopy=False, states=[TrialState.COMPLETE, TrialState.PRUNED])
    waiting = study.get_trials(deepcopy=False, states=[TrialState.WAITING])
    points = grid(sweep.searched)
    if points is None:
        return max(0, trials - len(done))
    known = [t.params for t in done]
    known += [t.system_attrs.get("fixed_params", {}) for t in waiting]
    for point in points:
        if point not in known:
            study.enqueue_trial(point)
            waiting.append(None)
    return len(waiting)


def _one(sweep: Sweep, parent: int, seed: int) -> None:
    """One trial, in a worker process."""
    import optuna

    if os.getpid() != parent:
        _end_with(parent)
    study = sweep.study(seed)
    trial = study.ask({s.key: s.distribution() for s in sweep.searched})
    try:
        study.tell(trial, _value(sweep, trial))
    except optuna.TrialPruned as error:
        trial.set_user_attr("given up", str(error))
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    except RecipeError as error:
        trial.set_user_attr("failed", str(error))
        study.tell(trial, state=optuna.trial.TrialState.FAIL)


def _value(sweep: Sweep, trial: Any) -> float:
    """Mean validation accuracy over the seeds, at the last epoch."""
    from running.sweep.pruning import GiveUp
    from running.training import run

    found: dict[str, list[float]] = {"validation": [], "test": []}
    for index, seed in enumerate(sweep.seeds):
        ((cfg, hydra),) = composed([sweep.overrides(trial.params, seed)])
        # A point is given up in its first seed: the others are trained like those they join.
        watchers = [GiveUp(trial)] if index == 0 else []
        result = run(cfg, place_of(cfg, hydra), watchers)
        if "diverged" in result:
            raise RecipeError(f"seed {seed}: {result['diverged']}")
        found["validation"].append(result["last"]["val"]["accuracy"])
        found["test"].append(result["last"]["test"]["accuracy"])
        for split, values in found.items():
            trial.set_user_attr(split, values)
    return sum(found["validation"]) / len(sweep.seeds)


def _end_with(parent: int) -> None:
    """End this worker when the program is gone, even killed: another sweep may go on then."""
    for thread in threading.enumerate():
        if thread.name == _WATCH:
            return
    threading.Thread(target=partial(_watch, parent), name=_WATCH, daemon=True).start()


_WATCH = "end with the program"


def _watch(parent: int) -> None:
    while _is_there(parent):
        time.sleep(0.2)
    os._exit(1)


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except OSError:
        return False
    return True


def summary(sweep: Sweep) -> list[dict[str, Any]]:
    """Every point with its state and accuracies per seed, those of the latest trial of it."""
    points: dict[str, dict[str, Any]] = {}
    states: Sequence[str] = ("COMPLETE", "PRUNED", "FAIL")
    for trial in sweep.study().get_trials(deepcopy=False):
        if trial.state.name not in states or not trial.params:
            continue
        of = {
            "params": trial.params,
            "state": {"COMPLETE": "complete", "PRUNED": "given up", "FAIL": "failed"}[
                trial.state.name
            ],
            "epochs seen": len(trial.intermediate_values),
            **trial.user_attrs,
        }
        points[str(sorted(trial.params.items()))] = of
    return [*points.values()]
