"""Carry out a study: its runs, over seeds, and the tables and figures of them.

Examples, from the repository's root::

    python experiments/study.py demo                      # AV-Digits: what `make demo` shows
    python experiments/study.py table4 experiment=cremad data.store=STORE
    python experiments/study.py beta experiment=cremad trainer.devices=4 trainer.strategy=ddp
    python experiments/study.py comparison --methods none ogm agm --seeds 0 1 2

Runs are those of ``train.py`` with the same overrides. One that is there already is not trained
again, so that the same command goes on where it was; ``rerun=true`` repeats all.
"""

import argparse
import shlex
import sys
from pathlib import Path

from running.ending import end_on_signals

if __name__ == "__main__":  # before imports that take seconds
    end_on_signals("finished runs are kept, and the same command goes on from them")

from running.study import Study, listed, load


def main() -> int:
    """Carry out what the command line asks for; 1 where a run failed."""
    arguments, study = _arguments()
    if study.carry_out is not None:
        return study.carry_out(arguments)
    # Here: they take torch with them, seconds that a mistyped command should not cost.
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException
    from rich.console import Console

    from running.conduct import Asked, conduct

    runs = () if arguments.runs is None else (f"runs={arguments.runs}",)
    asked = Asked(
        arguments.study,
        study,
        tuple(dict.fromkeys(arguments.methods or study.methods)),
        tuple(dict.fromkeys(study.seeds if arguments.seeds is None else arguments.seeds)),
        (*arguments.overrides, *runs),
        arguments.out,
        arguments.workers,
        shlex.join(["python", "experiments/study.py", *sys.argv[1:]]),
    )
    try:
        return conduct(asked, Console())
    except (HydraException, OmegaConfBaseException, OSError) as error:
        print(error, file=sys.stderr)
        return 1


def _arguments() -> tuple[argparse.Namespace, Study]:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        usage="study.py NAME [OVERRIDE ...] [options]",
        epilog=f"studies:\n{listed()}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("study", metavar="NAME", help="the study, one of those below")
    parser.add_argument("overrides", nargs="*", help="overrides for all runs, as of train.py")
    parser.add_argument("--methods", nargs="+", help="files of conf/callbacks")
    parser.add_argument("--seeds", nargs="+", type=int, help="other seeds than the study's own")
    parser.add_argument("--runs", help="where run folders go (default: runs), the same as runs=")
    parser.add_argument("--out", type=Path, help="the report (RUNS/studies/EXPERIMENT/NAME)")
    parser.add_argument(
        "--workers", type=int, help="runs at a time (default: a run per core, one on a GPU)"
    )
    if len(sys.argv) == 1:  # argparse would ask for the overrides too, which may be none
        parser.print_help()
        parser.exit(0)
    arguments = parser.parse_intermixed_args()
    try:
        study = load(arguments.study)
    except KeyError as error:
        parser.exit(2, f"{error.args[0]}\n")
    for override in arguments.overrides:
        for key, option in (("seed", "--seeds"), ("callbacks", "--methods")):
            if override.partition("=")[0].lstrip("+") == key:
                parser.error(f"{override}: a study takes {option}, not {key}=")
    if arguments.workers is not None and arguments.workers < 1:
        parser.error(f"--workers must be at least 1, got {arguments.workers}")
    return arguments, study


if __name__ == "__main__":
    sys.exit(main())
