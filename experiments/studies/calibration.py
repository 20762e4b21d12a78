"""How far joint training falls short of one modality alone, by which AV-Digits was made.

The difficulty of AV-Digits was fixed by these numbers alone; regulation plays no part here.
"""

from collections.abc import Iterable, Sequence

from running.baseline_rows import MODALITIES, alone
from running.study import Job, Study


def plan(methods: Sequence[str], seeds: Sequence[int]) -> Iterable[Job]:
    """Each modality alone, and what is trained with both."""
    for seed in seeds:
        yield from (alone(modality).with_seed(seed) for modality in MODALITIES)
        yield from (Job((f"callbacks={method}",), seed) for method in methods)


STUDY = Study(
    "audio alone, image alone and joint training: what AV-Digits was made by",
    methods=("none",),
    seeds=(0, 1, 2, 3, 4),
    plan=plan,
)
