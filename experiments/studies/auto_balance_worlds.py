"""AutoBalance on generated worlds beside other remedies; its protocol is in evidence/.

What it finds is kept in ``experiments/results/auto_balance.json``; worlds that are there are not
trained again.
"""

import sys
from typing import Any

from running.study import Study


def carry_out(arguments: Any) -> int:
    """Train the worlds that are missing, each with every row, and keep the test accuracies.

    Args:
        arguments: Of the command line; ``--out`` names another file, ``--seeds`` other seeds, and
            ``--methods`` the only worlds to train.
    """
    from running.auto_balance_results import RESULTS, read, write
    from running.truth.remedies import SEEDS, complete, worlds

    place = arguments.out or RESULTS
    try:
        kept = read(place)
    except (OSError, ValueError) as error:
        print(f"--out: {place} cannot be read ({error}); give another file", file=sys.stderr)
        return 1
    known = {world.name: world for world in worlds()}
    names = arguments.methods or [*known]
    if unknown := [name for name in names if name not in known]:
        print(f"--methods {unknown[0]}: the worlds are {', '.join(known)}", file=sys.stderr)
        return 1
    chosen = [known[name] for name in names]
    for found in complete(kept.get("worlds", {}), chosen, arguments.seeds or SEEDS):
        print(f"{len(found)} worlds, {[*found][-1]}: {[*found.values()][-1]}", flush=True)
        write(place, {**read(place), "worlds": found})
    return 0


STUDY = Study(
    "AutoBalance on generated worlds beside other remedies (no overrides)",
    methods=(),
    seeds=(0, 1, 2),
    carry_out=carry_out,
)
