"""Which method keeps most when a modality is missing: accuracy under every subset.

Its protocol is in ``evidence/missing.md``.
"""

from collections.abc import Sequence
from typing import Any

from running.study import Results, Study


def appendix(seeds: Sequence[int], results: Results) -> str:
    """The table of subsets, from the runs' last checkpoints."""
    from running.missing import subsets_table

    return subsets_table(results.values())


def keep(seeds: Sequence[int], results: Results) -> dict[str, Any]:
    """What is kept of it in ``results/av_digits_missing.json``."""
    from running.missing import kept_subsets

    return {"protocol": "experiments/evidence/missing.md", **kept_subsets(results.values())}


STUDY = Study(
    "which method keeps most when a modality is missing: accuracy by subset",
    methods=("none", "modality_dropout", "unimodal_losses", "dgl", "inforeg"),
    seeds=(0, 1, 2, 3, 4),
    appendix=appendix,
    keep=keep,
)
