"""The demo: joint training, three remedies and each modality alone, what `make demo` shows."""

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
    "joint training, InfoReg and two remedies beside each modality alone, in minutes",
    methods=("none", "inforeg", "unimodal_losses", "auto_balance"),
    plan=plan,
)
