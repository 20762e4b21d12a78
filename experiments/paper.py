"""The paper's tables and figures over seeds, one command each, ending in a report.

Examples, from the repository's root::

    python experiments/paper.py table2                    # AV-Digits: Table 2 and Fig. 6
    python experiments/paper.py table4 experiment=cremad data.store=STORE
    python experiments/paper.py beta experiment=cremad trainer.devices=4 trainer.strategy=ddp

Runs are those of ``train.py`` with the same overrides, one after another, each in a process of its
own (so that it may start further ones, as DDP does). A run that is there already is not repeated:
the same command goes on where it was.
"""

import argparse
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

TRAIN = Path(__file__).resolve().parent / "train.py"


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        about: What of the paper it repeats.
        methods: Files of ``conf/callbacks``, the baseline among them.
        overrides: Of every run.
        parameter: The parameter of InfoReg that is searched.
        values: Its values.
    """

    about: str
    methods: tuple[str, ...] = ("none", "inforeg")
    overrides: tuple[str, ...] = ()
    parameter: str | None = None
    values: tuple[float, ...] = ()

    def jobs(self, methods: Sequence[str], seeds: Sequence[int]) -> Iterator[list[str]]:
        """The overrides of each run, seed by seed: an early end leaves whole comparisons."""
        points = [[f"callbacks.inforeg.{self.parameter}={value}"] for value in self.values]
        for seed in seeds:
            for method in methods:
                for point in points or [[]]:
                    yield [f"callbacks={method}", f"seed={seed}", *self.overrides, *point]


STUDIES = {
    "table2": Study("Table 2 and Fig. 6: joint training and InfoReg, joint loss only"),
    "table3": Study(
        "Table 3: the same with unimodal losses", overrides=("model.unimodal_losses=true",)
    ),
    "table4": Study(
        "Table 4: regulation inside the window, outside it and throughout",
        ("none", "inforeg", "inforeg_outside", "inforeg_always"),
    ),
    "beta": Study("Fig. 7: β", parameter="beta", values=(0.1, 0.3, 0.5, 0.7, 0.9, 1.0)),
    "K": Study("Fig. 8: K", parameter="K", values=(0.01, 0.02, 0.04, 0.06, 0.08, 0.1)),
}


@dataclass(frozen=True)
class Job:
    """A run to be trained: its overrides, its folder, and whether it is there already."""

    overrides: tuple[str, ...]
    folder: Path
    done: bool


def main() -> int:
    """Train and report what the command line asks for; 1 where a run failed, 130 if interrupted."""
    arguments = _arguments()
    study = STUDIES[arguments.study]
    # Here: it takes torch with it, seconds that a mistyped command should not cost.
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    common = [*arguments.overrides, f"runs={arguments.runs}"]
    methods = arguments.methods or study.methods
    try:
        name, jobs = _planned(study.jobs(methods, arguments.seeds), common)
    except (HydraException, OmegaConfBaseException) as error:
        print(error, file=sys.stderr)
        return 1
    out = arguments.out or arguments.runs / "paper" / name / arguments.study
    try:
        failed = _train(jobs)
    except KeyboardInterrupt:
        print("interrupted: finished runs are kept, and the same command goes on from them")
        return 130
    if len(failed) < len(jobs):
        _report([job.folder for job in jobs if job not in failed], study, out)
    for job in failed:
        print(f"failed: {job.folder}", file=sys.stderr)
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="\n".join(f"  {name:<8}{study.about}" for name, study in STUDIES.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("overrides", nargs="*", help="overrides for all runs, as of train.py")
    parser.add_argument("--methods", nargs="+", help="files of conf/callbacks")
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders go")
    parser.add_argument("--out", type=Path, help="the report (RUNS/paper/EXPERIMENT/STUDY)")
    return parser.parse_intermixed_args()


def _planned(asked: Iterator[list[str]], common: Sequence[str]) -> tuple[str, list[Job]]:
    """The experiment's name and each different run once, after a check of all of them."""
    from hydra import compose, initialize_config_dir
    from omegaconf import open_dict

    from checks import check
    from run_folder import finished, identity
    from workers import CONF

    jobs: dict[Path, Job] = {}
    name = ""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for own in asked:
            overrides = (*own, *common)
            cfg = compose("train", list(overrides), return_hydra_config=True)
            folder, name = Path(cfg.hydra.run.dir), cfg.name
            with open_dict(cfg):
                del cfg["hydra"]
            if folder not in jobs:  # a method without the parameter is one run, whatever its value
                check(cfg)
                done = not cfg.rerun and finished(folder, identity(cfg)) is not None
                jobs[folder] = Job(overrides, folder, done)
    return name, list(jobs.values())


def _train(jobs: Sequence[Job]) -> list[Job]:
    """Train what is not there; returns what failed."""
    print(f"{len(jobs)} runs, {sum(job.done for job in jobs)} of them there already", flush=True)
    failed = []
    for number, job in enumerate(jobs, start=1):
        if job.done:
            continue
        print(f"[{number}/{len(jobs)}]", flush=True)
        if subprocess.run([sys.executable, str(TRAIN), *job.overrides], check=False).returncode:
            failed.append(job)
    return failed


def _report(folders: Sequence[Path], study: Study, out: Path) -> None:
    from inforeg_lightning.report import (
        embedding_plots,
        load_runs,
        summarise,
        sweep_plots,
        write_report,
    )
    from references import remarks

    runs, unreadable = load_runs(folders)
    summaries = summarise(runs)
    more = partial(sweep_plots, parameter=study.parameter) if study.parameter else embedding_plots
    command = shlex.join(["python", "experiments/paper.py", *sys.argv[1:]])
    above = remarks(summary.experiment for summary in summaries)
    page = write_report(summaries, unreadable, out, command, above, [more])
    print((out / "report.md").read_text())
    print(f"Page: {page.resolve()}")


if __name__ == "__main__":
    sys.exit(main())
