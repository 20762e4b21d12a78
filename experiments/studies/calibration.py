"""How far joint training falls short of one modality alone, by which AV-Digits was made.

The difficulty of AV-Digits was fixed by these numbers alone; regulation plays no part here.
"""

from collections.abc import Iterable, Sequence

from running.study import Job, Study

MODALITIES = ("audio", "image")


def alone(modality: str) -> tuple[str, ...]:
    """The overrides that leave one of the two modalities, and no callback, which needs both."""
    (other,) = set(MODALITIES) - {modality}
    return (
        "callbacks=none",
        "~callbacks.none",
        f"callbacks.name={modality}_alone",
        f"callbacks.title={modality.capitalize()} alone",
        f"~modalities.{other}",
        f"~model.encoders.{other}",
    )


def plan(methods: Sequence[str], seeds: Sequence[int]) -> Iterable[Job]:
    """Each modality alone, and what is trained with both."""
    for seed in seeds:
        yield from (Job(alone(modality), seed) for modality in MODALITIES)
        yield from (Job((f"callbacks={method}",), seed) for method in methods)


STUDY = Study(
    "audio alone, image alone and joint training: what AV-Digits was made by",
    methods=("none",),
    seeds=(0, 1, 2, 3, 4),
    plan=plan,
)
