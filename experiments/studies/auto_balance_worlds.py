"""AutoBalance on generated worlds: whether it keeps still where no modality starves."""

import sys
from pathlib import Path
from typing import Any

from running.study import Study

RESULTS = Path(__file__).resolve().parents[1] / "results" / "auto_balance_worlds.json"


def carry_out(arguments: Any) -> int:
    """Measure the worlds that are missing in ``results/auto_balance_worlds.json``, or ``--out``."""
    from running.balanced_worlds import complete
    from running.kept import KeptError, read, write

    place = arguments.out or RESULTS
    try:
        content = read(place)
    except KeptError as error:
        print(error, file=sys.stderr)
        return 1
    for found in complete(content, STUDY.seeds):
        write(place, found)
        print(f"{len(found)} worlds", flush=True)
    return 0


STUDY = Study(
    "AutoBalance on generated worlds: does it keep still? (no overrides)",
    methods=(),
    carry_out=carry_out,
)
