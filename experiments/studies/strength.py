"""Accuracy against the strength of the pull, over learning rates, batches, sizes and optimizers.

The protocol is ``evidence/strength.md``; what was measured is kept in
``experiments/results/strength.json``, set-up by set-up, so that the same command goes on from it.
"""

import re
import sys
from pathlib import Path
from typing import Any

from running.study import Study

RESULTS = Path(__file__).resolve().parents[1] / "results" / "strength.json"


def carry_out(arguments: Any) -> int:
    """Measure the set-ups that are missing, judge, and print what was found.

    Args:
        arguments: Of the command line; ``--out`` names another file, ``--workers`` is how many
            set-ups are measured side by side, ``set_ups=N`` measures only the first N.
    """
    from running.kept import KeptError, read, write
    from running.strength_table import strength_table
    from running.strengths import complete

    few, place = None, arguments.out or RESULTS
    for override in arguments.overrides:
        if not re.fullmatch(r"set_ups=[1-9]\d*", override):
            print(f"{override}: strength takes no override but set_ups=N", file=sys.stderr)
            return 1
        few = int(override.partition("=")[2])
    try:
        content = read(place)
    except KeptError as error:
        print(error, file=sys.stderr)
        return 1
    for found in complete(content, arguments.workers or 1, few):
        write(place, found)
        content = found
    print(strength_table(content))
    return 0


STUDY = Study(
    "accuracy against the strength of the pull, over lr, batch, size and optimizer (no overrides)",
    methods=(),
    seeds=(0, 1, 2),
    carry_out=carry_out,
)
