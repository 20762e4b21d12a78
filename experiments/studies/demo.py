"""The demo: joint training, three remedies and each modality alone, as the README shows them."""

from collections.abc import Iterator, Sequence

from running.baseline_rows import MODALITIES, alone
from running.claims.rows import SET_UP
from running.study import Job, Study


def plan(methods: Sequence[str], seeds: Sequence[int]) -> Iterator[Job]:
    """Seed by seed, so that an early end leaves whole comparisons."""
    for seed in seeds:
        yield from (Job((f"callbacks={method}", *SET_UP), seed) for method in methods)
        yield from (alone(modality, *SET_UP).with_seed(seed) for modality in MODALITIES)


STUDY = Study(
    "the README's table: joint training, InfoReg and two remedies, each modality alone",
    methods=("none", "inforeg", "unimodal_losses", "auto_balance"),
    plan=plan,
)
