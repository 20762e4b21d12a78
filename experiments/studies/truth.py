"""Worlds whose answer is known: how often a diagnosis is right, and whom it calls starved.

The answers are an oracle's, with many samples, and are kept in ``experiments/results/truth.json``;
so is the evidence of each diagnosis. Thresholds were tuned on the worlds with numbers below 100;
those from 100 on were drawn when the rules were fixed, and judge them.
"""

import sys
from pathlib import Path
from typing import Any

from running.study import Study

RESULTS = Path(__file__).resolve().parents[1] / "results" / "truth.json"


def carry_out(arguments: Any) -> int:
    """Measure what is missing of answers and evidence, judge, and print the confusion matrices.

    Args:
        arguments: Of the command line; ``--out`` names another file, which begins empty, and
            ``--workers`` is how many worlds are measured side by side. ``--methods`` names worlds
            whose diagnosis is made by the Trainer, as a user's is, and printed (and written to
            ``--out``).
    """
    from running.kept import KeptError, read, write
    from running.truth.judging import complete, described, examine_by_name

    if arguments.methods:
        return examine_by_name(arguments.methods, arguments.out)
    place = arguments.out or RESULTS
    try:
        content = read(place)
    except KeptError as error:
        print(error, file=sys.stderr)
        return 1
    for found in complete(content, arguments.workers or 1):
        write(place, found)
        content = found
    print(described(content))
    return 0


STUDY = Study(
    "worlds whose answer is known: how often `diagnose` is right (no overrides)",
    methods=(),
    seeds=(0, 1, 2, 3, 4),
    carry_out=carry_out,
)
