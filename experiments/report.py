"""Fold run folders into a table, figures and one HTML page.

Example::

    python experiments/report.py runs/av_digits
"""

import argparse
import shlex
import sys
from functools import partial
from pathlib import Path

from inforeg_lightning.report import (
    MorePlots,
    embedding_plots,
    load_runs,
    summarise,
    sweep_plots,
    write_report,
)
from references import remarks


def main() -> int:
    """Write the report that the command line asks for; 1 where there is nothing to report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders to search for run folders")
    parser.add_argument(
        "--out", type=Path, help="where the report goes (default: `report` in the first folder)"
    )
    parser.add_argument("--baseline", default="none", help="method compared with (default: none)")
    parser.add_argument(
        "--tsne", action="store_true", help="draw the encoders' features too (seconds a panel)"
    )
    parser.add_argument("--sweep", metavar="PARAMETER", help="draw accuracy against beta or K too")
    arguments = parser.parse_args()
    try:
        runs, unreadable = load_runs(arguments.runs)
    except FileNotFoundError as error:
        parser.error(str(error))
    for problem in unreadable:
        print(f"left out: {problem.folder}: {problem.reason}", file=sys.stderr)
    if not runs:
        print("RUNS: no finished run found there; train something first", file=sys.stderr)
        return 1
    out = arguments.out or arguments.runs[0] / "report"
    command = shlex.join(["python", "experiments/report.py", *sys.argv[1:]])
    summaries = summarise(runs, arguments.baseline)
    above = remarks(summary.experiment for summary in summaries)
    more: list[MorePlots] = [embedding_plots] if arguments.tsne else []
    if arguments.sweep:
        more.append(partial(sweep_plots, parameter=arguments.sweep))
    write_report(summaries, unreadable, out, command, above, more)
    print((out / "report.md").read_text())
    print(f"Page: {(out / 'report.html').resolve()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
