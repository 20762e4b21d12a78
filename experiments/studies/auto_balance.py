"""AutoBalance beside joint training, unimodal losses and DGL; its protocol is in evidence/."""

from collections.abc import Sequence
from typing import Any

from running.study import Results, Study


def keep(seeds: Sequence[int], results: Results) -> dict[str, Any]:
    """What is kept of it, as a part of ``results/auto_balance.json``."""
    # Here: it takes the reports' libraries with it, which a list of studies should not cost.
    from running.auto_balance_results import kept_of

    return dict(kept_of(results.values()))


STUDY = Study(
    "AutoBalance beside joint training, unimodal losses (joint*) and DGL",
    methods=("none", "auto_balance", "unimodal_losses", "dgl"),
    seeds=tuple(range(10)),
    keep=keep,
)
