"""Suspicions of a monitor on worlds whose answer is known: how often they are right.

The answers are those of ``experiments/results/truth.json``; what the monitor saw of one training of
each world is kept in ``experiments/results/suspicions.json``, so that rules can be tried without
training. A file that is there is gone on with.
"""

import sys
from pathlib import Path
from typing import Any

from running.study import Study

RESULTS = Path(__file__).resolve().parents[1] / "results"


def carry_out(arguments: Any) -> int:
    """Watch the worlds that are missing, judge, and print the confusion matrices.

    Args:
        arguments: Of the command line; ``--out`` names another file.
    """
    from running.kept import KeptError, read, write
    from running.truth.judging import described
    from running.truth.monitoring import complete

    place = arguments.out or RESULTS / "suspicions.json"
    try:
        content, answers = read(place), read(RESULTS / "truth.json")["answers"]
    except KeptError as error:
        print(error, file=sys.stderr)
        return 1
    for found in complete(content, answers):
        write(place, found)
        content = found
    print(described(content))
    return 0


STUDY = Study(
    "suspicions of a monitor of one training, on worlds whose answer is known (no overrides)",
    methods=(),
    seeds=(0,),
    carry_out=carry_out,
)
