"""Carry out a study: plan its runs, train those that are missing, report them all."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from inforeg_lightning.report import Run, Unreadable, load_run, load_runs, summarise, write_report
from inforeg_lightning.report.folder import write_json
from inforeg_lightning.report.schema import FolderError
from running.building import build_data, build_trainer
from running.checks import check, switch
from running.claim import finished, identity, is_locked, locked
from running.compose import composed, place_of
from running.display import Display, show_tables
from running.errors import RecipeError
from running.references import remarks
from running.runner import Task, train_all
from running.study import Job, Results, Study


@dataclass(frozen=True)
class Asked:
    """What the command line asks of a study.

    Attributes:
        name: The study's name.
        study: The study.
        methods: Files of ``conf/callbacks``.
        seeds: The seeds.
        overrides: Overrides of every run, ``runs=`` among them.
        out: Where the report goes; ``None`` for a folder among the runs.
        workers: Processes that train beside each other; ``None`` for what suits the experiment.
        command: The command that does the same again.
    """

    name: str
    study: Study
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    overrides: tuple[str, ...]
    out: Path | None
    workers: int | None
    command: str


@dataclass(frozen=True)
class Planned:
    """A run, its configuration, its folder, and whether it is there already."""

    cfg: DictConfig
    folder: Path
    task: Task
    done: bool


def conduct(asked: Asked, console: Console) -> int:
    """Train what is missing of a study and report it.

    Args:
        asked: What the command line asks for.
        console: Where to print.

    Returns:
        0, or 1 where a run failed.

    Raises:
        RecipeError: Something cannot run, or another process carries out the same study. Nothing
            has been trained or written then.
    """
    with console.status("Checking the configurations …"):
        plan = _planned(asked, asked.study.jobs(asked.methods, asked.seeds))
    first = next(iter(plan.values()))
    runs = Path(first.cfg.runs)
    out = asked.out or runs / "studies" / first.cfg.name / asked.name
    failed: dict[Path, str] = {}
    with _alone(out, asked.seeds, plan.values()):
        failed |= _train(plan.values(), out, asked, console)
        while more := _further(asked, plan):
            known = {planned.folder for planned in plan.values()}
            plan |= more
            added = {p.folder: p for p in more.values() if p.folder not in known}
            failed |= _train(added.values(), out, asked, console)
        _report(asked, plan, out, console)
    for folder, problem in failed.items():
        console.print(
            f"failed: {folder}: {problem} (all of it in {out / 'log.txt'})",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    return 1 if failed else 0


def _planned(asked: Asked, jobs: Sequence[Job]) -> dict[Job, Planned]:
    """Each run with its folder, after a check of every configuration that differs by its seed."""
    plan: dict[Job, Planned] = {}
    checked: set[tuple[str, ...]] = set()
    overrides = [(*job.overrides, f"seed={job.seed}", *asked.overrides) for job in jobs]
    for job, own, (cfg, hydra) in zip(jobs, overrides, composed(overrides), strict=True):
        if job.overrides not in checked:
            check(cfg)
            checked.add(job.overrides)
        folder = place_of(cfg, hydra).folder
        done = not switch("rerun", cfg.rerun) and finished(folder, identity(cfg)) is not None
        processes = _processes(cfg)
        plan[job] = Planned(cfg, folder, Task(own, processes), done)
    return plan


def _further(asked: Asked, plan: Mapping[Job, Planned]) -> dict[Job, Planned]:
    """What is to be trained after what has been, if there is anything."""
    if asked.study.further is None:
        return {}
    more = asked.study.further(asked.seeds, _results(plan))
    return _planned(asked, [job for job in dict.fromkeys(more) if job not in plan])


def _processes(cfg: DictConfig) -> int:
    if cfg.trainer.get("devices", 1) == 1 and cfg.trainer.get("num_nodes", 1) == 1:
        return 1
    trainer = build_trainer(cfg, logger=False, enable_checkpointing=False)
    return trainer.num_devices * trainer.num_nodes


@contextmanager
def _alone(out: Path, seeds: Sequence[int], plan: Sequence[Planned]) -> Iterator[None]:
    """Refuse to train beside another process that trains the same."""
    remedy = "wait for its end, or give runs=FOLDER to train elsewhere"
    for planned in plan:
        if not planned.done and is_locked(planned.folder):
            raise RecipeError(f"{planned.folder}: another process trains this run; {remedy}")
    with ExitStack() as stack:
        # One lock per seed: the same study with other seeds may run beside it, on another GPU.
        for seed in sorted({*seeds}):
            refused = f"{out}: another process carries out this study with seed {seed}; {remedy}"
            stack.enter_context(locked(out / f".seed={seed}.lock", refused))
        yield


def _train(plan: Sequence[Planned], out: Path, asked: Asked, console: Console) -> dict[Path, str]:
    """Train what is not there; the folders of what failed, with the reasons."""
    different = {planned.folder: planned for planned in plan}
    missing = [planned for planned in different.values() if not planned.done]
    there = len(different) - len(missing)
    kept = f", {there} of them there already (rerun=true repeats them)" if there else ""
    console.print(f"{len(different)} runs{kept}", highlight=False)
    if not missing:
        return {}
    with console.status("Preparing the data, once for all runs …"):
        build_data(missing[0].cfg).prepare_data()
    workers = asked.workers or _workers(missing[0].cfg)
    if missing[0].cfg.threads == 1:
        # Runs beside each other must not fight for cores; the workers inherit this.
        os.environ["OMP_NUM_THREADS"] = "1"
    names = [f"{planned.cfg.callbacks.title}, seed {planned.cfg.seed}" for planned in missing]
    events = train_all([planned.task for planned in missing], workers, out / "log.txt")
    failed: dict[Path, str] = {}
    with Display(names, console) as display:
        try:
            for event in events:
                display.show(event)
                if event.kind == "failed":
                    failed[missing[event.task].folder] = str(event.detail)
        finally:
            events.close()  # ends the workers now, not when the generator is collected
    return failed


def _workers(cfg: DictConfig) -> int:
    """A run per core where each has one thread of the CPU, else one at a time."""
    trainer = build_trainer(cfg, logger=False, enable_checkpointing=False)
    if trainer.strategy.root_device.type != "cpu" or cfg.threads != 1:
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, (cores or 1) // (trainer.num_devices * trainer.num_nodes))


def _results(plan: Mapping[Job, Planned]) -> Results:
    found: dict[Job, Run] = {}
    for job, planned in plan.items():
        try:
            found[job] = load_run(planned.folder)
        except (FolderError, OSError):
            continue  # it failed or diverged, which the report says
    return found


def _report(asked: Asked, plan: dict[Job, Planned], out: Path, console: Console) -> None:
    folders = dict.fromkeys(planned.folder for planned in plan.values())
    runs, unreadable = load_runs(folder for folder in folders if folder.is_dir())
    unreadable += [Unreadable(f, "it was not trained") for f in folders if not f.is_dir()]
    if not runs:
        console.print("no run has a result to report", highlight=False)
        return
    with console.status("Drawing the report …"):
        tabulate = asked.study.tabulate
        summaries = summarise(runs) if tabulate is None else tabulate(asked.seeds, _results(plan))
        above = remarks({run.experiment for run in runs})
        page = write_report(
            summaries, unreadable, out, asked.command, above, asked.study.more_plots()
        )
        if asked.study.keep is not None:
            kept = asked.study.keep(asked.seeds, _results(plan))
            write_json(out / "kept.json", {"command": asked.command, **kept})
    show_tables(summaries, above, console)
    if asked.study.appendix is not None:
        text = asked.study.appendix(asked.seeds, _results(plan))
        (out / "appendix.txt").write_text(f"{text}\n", encoding="utf-8")
        console.print(text, markup=False, highlight=False, soft_wrap=True)
    for problem in unreadable:
        console.print(
            f"left out: {problem.folder}: {problem.reason}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    console.print(f"Page: {page.resolve()}", markup=False, highlight=False, soft_wrap=True)
