"""What needs no method: each modality alone, their ensembles, and joint training from them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from running.baseline_rows import MODALITIES, alone, ensembles, pretrained
from running.study import Job, Results, Study

if TYPE_CHECKING:
    from inforeg_lightning.report import Summary


def plan(methods: Sequence[str], seeds: Sequence[int]) -> Iterator[Job]:
    """Joint training, and each modality alone."""
    for seed in seeds:
        yield from (Job((f"callbacks={method}",), seed) for method in methods)
        yield from (alone(modality).with_seed(seed) for modality in MODALITIES)


def further(seeds: Sequence[int], results: Results) -> Iterable[Job]:
    """What begins from the modalities alone, of the seeds that have them."""
    whole = [s for s in seeds if all(alone(m).with_seed(s) in results for m in MODALITIES)]
    return [pretrained(frozen=frozen).with_seed(s) for s in whole for frozen in (False, True)]


def tabulate(seeds: Sequence[int], results: Results) -> "list[Summary]":
    """All of them as one summary."""
    from inforeg_lightning.report import summarise

    members = [alone(modality) for modality in MODALITIES]
    return [*summarise([*results.values(), *ensembles(seeds, results, members)])]


STUDY = Study(
    "what needs no method: each modality alone, their ensembles, joint training from them",
    methods=("none",),
    seeds=(0, 1, 2, 3, 4),
    plan=plan,
    further=further,
    tabulate=tabulate,
)
