"""Which in-training signals tell a starved modality, on the worlds that rules are tuned on.

What a monitor reads is compared with other signals that one training gives; the areas under their
ROC curves stand in ``docs/monitor.md``. No world that judges the rules is looked at.
"""

import sys
from pathlib import Path
from typing import Any

from running.study import Study

RESULTS = Path(__file__).resolve().parents[1] / "results"


def carry_out(arguments: Any) -> int:
    """Measure what is missing, compare, and print the table.

    Args:
        arguments: Of the command line; ``--out`` names another file.
    """
    from running.kept import KeptError, read, write
    from running.truth.signals import complete
    from running.truth.tables import signals_table

    place = arguments.out or RESULTS / "signals.json"
    try:
        content, answers = read(place), read(RESULTS / "truth.json")["answers"]
        seen = read(RESULTS / "suspicions.json")["seen"]
    except KeptError as error:
        print(error, file=sys.stderr)
        return 1
    for found in complete(content, answers, seen):
        write(place, found)
        content = found
    print(signals_table(content))
    return 0


STUDY = Study(
    "in-training signals that may tell a starved modality, compared (no overrides)",
    methods=(),
    seeds=(0,),
    carry_out=carry_out,
)
