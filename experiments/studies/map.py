"""Where each remedy helps and where it harms, over a family of small worlds.

The protocol is ``evidence/map.md``, the page ``docs/map.md``. Accuracies and positions are kept in
``experiments/results/map.json``, cell by cell, so that the same command goes on from them.
"""

import sys
from pathlib import Path
from typing import Any

from running.study import Study

_ROOT = Path(__file__).resolve().parents[2]
RESULTS = _ROOT / "experiments" / "results" / "map.json"
PICTURE = _ROOT / "docs" / "assets" / "map.png"


def carry_out(arguments: Any) -> int:
    """Measure the cells that are missing, judge, and draw.

    Args:
        arguments: Of the command line. ``--out`` names another file, ``--workers`` is how many
            cells are measured side by side, ``--methods`` names rows that are trained anew, and
            ``--seeds`` others than the protocol's (of a new file).
    """
    from running.kept import KeptError
    from running.map.completing import MapError, carry_on

    try:
        return carry_on(
            arguments.out or RESULTS,
            arguments.seeds,
            arguments.methods or (),
            arguments.workers or 1,
            arguments.overrides,
            PICTURE if arguments.out is None else None,
        )
    except (MapError, KeptError) as error:
        print(error, file=sys.stderr)
        return 1


STUDY = Study(
    "a map of small worlds: where each remedy helps and where it harms (no overrides but cells=N)",
    methods=(),
    seeds=(0, 1, 2, 3, 4, 5),
    carry_out=carry_out,
)
