"""Joint training beside InfoReg on the embedded data, with a progress display and a report.

The runs are those of this sweep, in the same folders and with the same numbers::

    python experiments/train.py -m callbacks=none,inforeg,inforeg_adaptive seed=0,1,2
"""

import argparse
import os
import shlex
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from display import Display, table
from references import remarks
from workers import CONF, train_all

METHODS = ("none", "inforeg", "inforeg_adaptive")


def main() -> int:
    """Run the demo that the command line asks for; 1 where a run failed, 130 if interrupted."""
    arguments = _arguments()
    console = Console()
    # Runs beside each other must not fight for cores; the workers inherit this.
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that workers end with us
    try:
        return _demo(arguments, console)
    except KeyboardInterrupt:
        console.print("Interrupted. Finished runs are kept; --keep goes on from them.")
        return 130


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("overrides", nargs="*", help="overrides for all runs, as of train.py")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="files of conf/callbacks")
    parser.add_argument("--seeds", nargs="+", type=int, default=(0, 1, 2))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where run folders go")
    parser.add_argument(
        "--keep", action="store_true", help="keep finished runs, do not repeat them"
    )
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    parser.add_argument(
        "--workers", type=int, default=cores or 1, help="processes (default: cores)"
    )
    return parser.parse_args()


def _demo(arguments: argparse.Namespace, console: Console) -> int:
    started = time.monotonic()
    common = [*arguments.overrides, f"runs={arguments.runs}", f"rerun={not arguments.keep}"]
    jobs = [
        [f"callbacks={method}", f"seed={seed}", *common]
        for seed in arguments.seeds  # seed by seed, so that an early end leaves whole comparisons
        for method in arguments.methods
    ]
    names = [f"{job[0].removeprefix('callbacks=')}, {job[1].replace('=', ' ')}" for job in jobs]
    _prepare(jobs[0], console)
    arguments.runs.mkdir(parents=True, exist_ok=True)
    log = arguments.runs / "demo.log"
    log.unlink(missing_ok=True)
    folders: list[Path] = []
    failed: list[str] = []
    events = train_all(jobs, max(1, arguments.workers), log)
    with Display(names, console) as display:
        try:
            for event in events:
                display.show(event)
                if event.kind == "done":
                    folders.append(event.detail)
                elif event.kind == "failed":
                    failed.append(f"{names[event.job]}: {event.detail}")
        finally:
            events.close()  # ends the workers now, not when the generator is collected
    if folders:
        _report(folders, arguments.runs / "demo", console)
    minutes, seconds = divmod(round(time.monotonic() - started), 60)
    count = f"{len(folders)} of {len(jobs)} runs"
    console.print(f"{count} in {minutes} min {seconds:02d} s.", highlight=False)
    for problem in failed:
        console.print(f"failed: {problem} (all of it in {log})", markup=False, soft_wrap=True)
    return 1 if failed else 0


def _prepare(overrides: list[str], console: Console) -> None:
    """Make the data once, before several workers want them at the same time."""
    with console.status("Loading PyTorch and Lightning …"):
        from hydra import compose, initialize_config_dir
        from hydra.utils import instantiate

        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose("train", overrides)
        from checks import check

        check(cfg)
        data = instantiate(cfg.data, _convert_="all")
    with console.status("Preparing the data (generated once, then cached) …"):
        started = time.monotonic()
        data.prepare_data()
    console.print(f"Data are ready ({time.monotonic() - started:.0f} s).", highlight=False)


def _report(folders: list[Path], out: Path, console: Console) -> None:
    from inforeg_lightning.report import load_runs, summarise, write_report

    with console.status("Drawing the report …"):
        runs, unreadable = load_runs(folders)
        command = shlex.join(["python", "experiments/demo.py", *sys.argv[1:]])
        summaries = summarise(runs)
        above = remarks(summary.experiment for summary in summaries)
        page = write_report(summaries, unreadable, out, command, above)
    if console.is_terminal:
        for line in above:
            console.print(line, markup=False, highlight=False)
        for summary in summaries:
            console.print(table(summary), highlight=False)
    else:
        console.print(
            (out / "report.md").read_text(), markup=False, highlight=False, soft_wrap=True
        )
    console.print(f"Page: {page.resolve()}", markup=False, highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
