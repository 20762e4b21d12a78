"""Finished runs of the study auto_balance into one file of results, and their picture.

It trains nothing; what the file has already and the runs have not stays.
"""

import sys
from pathlib import Path
from typing import Any

from running.study import Study

PICTURE = Path(__file__).resolve().parents[2] / "docs" / "assets" / "auto_balance.png"


def carry_out(arguments: Any) -> int:
    """Add the runs below ``--runs`` to the results, and draw the first seed's history.

    Args:
        arguments: Of the command line; ``--out`` names another folder for file and picture.
    """
    from inforeg_lightning.report import load_runs
    from running.auto_balance_results import (
        RESULTS,
        joint_of_study,
        kept_of,
        merged,
        picture,
    )
    from running.kept import read, write

    place, drawn = RESULTS, PICTURE
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
        place, drawn = arguments.out / RESULTS.name, arguments.out / PICTURE.name
    try:
        runs, _ = load_runs([Path(arguments.runs or "runs")])
        kept = merged(merged(joint_of_study(), read(place)), kept_of(runs))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    write(place, kept)
    print(f"written: {place} ({', '.join(f'{part} {len(of)}' for part, of in kept.items())})")
    for run in runs:
        if (run.experiment, run.group, run.seed) == ("av_digits", ("auto_balance", ""), 0):
            picture(run).savefig(drawn, dpi=120)
            print(f"written: {drawn}")
    return 0


STUDY = Study(
    "AutoBalance: finished runs into results/auto_balance.json, and a picture (trains nothing)",
    methods=(),
    seeds=(),
    carry_out=carry_out,
)
