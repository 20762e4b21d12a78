"""Search the parameters of a method by Optuna: a grid of choices, or intervals by its TPE sampler.

Overrides that are sweeps in Hydra's grammar are searched, the others are those of every run::

    python experiments/study.py sweep callbacks.inforeg.beta=0.5,0.9 callbacks.inforeg.K=0.01,0.04
    python experiments/study.py sweep 'callbacks.ogm.alpha=interval(0.1,1)' trials=20 --methods ogm

The value of a point is its mean validation accuracy over the seeds, and the test set chooses
nothing. A point is given up while its first seed trains if it is below the median of the others,
but not while the history of its method has a window open. All is kept in a journal in the folder of
the report, and the runs in theirs: the same command goes on with what is missing.
"""

import re
import sys
from pathlib import Path
from typing import Any

from running.study import Study

_TRIALS = 20


def carry_out(arguments: Any) -> int:
    """Search, and write table, picture and ``result.json``.

    Args:
        arguments: Of the command line. ``trials=N`` is how many are made where an interval is
            searched (20).
    """
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from running.sweep.searching import search

    given = [re.fullmatch(r"trials=([1-9]\d*)", override) for override in arguments.overrides]
    trials = next((int(found[1]) for found in given if found), _TRIALS)
    overrides = [o for o, found in zip(arguments.overrides, given, strict=True) if not found]
    runs = [f"runs={arguments.runs}"] if arguments.runs is not None else []
    try:
        for method in arguments.methods or STUDY.methods:
            search(
                method,
                [*overrides, *runs],
                STUDY.seeds if arguments.seeds is None else tuple(arguments.seeds),
                trials,
                arguments.workers,
                None if arguments.out is None else Path(arguments.out, method),
            )
    except (HydraException, OmegaConfBaseException, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


STUDY = Study(
    "search parameters by Optuna, for example callbacks.inforeg.beta=0.5,0.9 (extra: sweep)",
    methods=("inforeg",),
    seeds=(0, 1, 2),
    carry_out=carry_out,
)
