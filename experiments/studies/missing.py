"""Which method keeps most when a modality is missing: accuracy under every subset."""

from collections.abc import Sequence

from running.study import Results, Study


def appendix(seeds: Sequence[int], results: Results) -> str:
    """The table of subsets, from the runs' last checkpoints."""
    from running.missing import subsets_table

    return subsets_table(results.values())


STUDY = Study(
    "which method keeps most when a modality is missing: accuracy by subset",
    methods=("none", "modality_dropout", "unimodal_losses", "dgl", "inforeg"),
    seeds=(0, 1, 2, 3, 4),
    appendix=appendix,
)
