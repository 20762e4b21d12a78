"""Fold run folders into tables, figures and one HTML page, or print those of an earlier report.

With ``--subsets`` it evaluates the runs' last checkpoints with modalities missing, and prints test
accuracy by subset of the modalities instead. With ``--documents`` it writes the tables in ``docs/``
anew from ``experiments/results/``.

Examples::

    python experiments/report.py runs/av_digits
    python experiments/report.py experiments/results/av_digits_study.json
    python experiments/report.py runs/av_digits --subsets
    python experiments/report.py --documents
"""

import argparse
import shlex
import sys
from functools import partial
from pathlib import Path

from inforeg_lightning.report import (
    MorePlots,
    Run,
    embedding_plots,
    load_diagnoses,
    load_runs,
    read_tables,
    summarise,
    sweep_plots,
    write_report,
)
from running.generated import stale
from running.references import remarks


def main() -> int:
    """Write the report that the command line asks for; 1 where there is nothing to report."""
    arguments = _arguments()
    if arguments.documents:
        return _write_documents()
    files = [path for path in arguments.runs if path.suffix == ".json"]
    if files:
        return _print_tables(files)
    try:
        runs, unreadable = load_runs(arguments.runs)
        diagnoses, broken = load_diagnoses(arguments.runs)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    unreadable += broken
    for problem in unreadable:
        print(f"left out: {problem.folder}: {problem.reason}", file=sys.stderr)
    if not runs and not diagnoses:
        print("RUNS: no finished run found there; train something first", file=sys.stderr)
        return 1
    if arguments.subsets:
        return _print_subsets(runs)
    out = arguments.out or arguments.runs[0] / "report"
    command = shlex.join(["python", "experiments/report.py", *sys.argv[1:]])
    summaries = summarise(runs, arguments.baseline)
    above = remarks(summary.experiment for summary in summaries)
    more: list[MorePlots] = [embedding_plots] if arguments.tsne else []
    if arguments.sweep:
        more.append(partial(sweep_plots, parameter=arguments.sweep))
    try:
        write_report(summaries, unreadable, out, command, above, more, diagnoses)
    except OSError as error:
        print(f"--out: the report cannot be written there ({error})", file=sys.stderr)
        return 1
    print((out / "report.md").read_text(encoding="utf-8"))
    print(f"Page: {(out / 'report.html').resolve()}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "runs", nargs="*", type=Path, help="folders to search, or result.json files of reports"
    )
    parser.add_argument(
        "--documents", action="store_true", help="write the generated tables of docs/ anew"
    )
    parser.add_argument(
        "--out", type=Path, help="where the report goes (default: `report` in the first folder)"
    )
    parser.add_argument("--baseline", default="none", help="method compared with (default: none)")
    parser.add_argument(
        "--tsne", action="store_true", help="draw the encoders' features too (seconds per panel)"
    )
    parser.add_argument(
        "--subsets", action="store_true", help="print test accuracy by subset of the modalities"
    )
    parser.add_argument("--sweep", metavar="PARAMETER", help="draw accuracy against beta or K too")
    arguments = parser.parse_args()
    if bool(arguments.runs) == arguments.documents:
        parser.error("give either RUNS or --documents")
    return arguments


def _write_documents() -> int:
    for page, text in stale().items():
        page.write_text(text, encoding="utf-8")
        print(f"written: {page}")
    return 0


def _print_subsets(runs: list[Run]) -> int:
    # Here: it builds models and data, whose libraries a report does not need.
    from running.errors import RecipeError
    from running.missing import subsets_table

    try:
        print(subsets_table(runs))
    except RecipeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _print_tables(files: list[Path]) -> int:
    try:
        found = [table for file in files for table in read_tables(file)]
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    for table in found:
        print(f"{table.experiment}. {table.caption}:\n\n{table.markdown()}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
