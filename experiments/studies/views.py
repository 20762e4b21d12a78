"""Six modalities of real data: the views of UCI's handwritten digits."""

from running.study import Study

STUDY = Study(
    "six views of handwritten digits: joint training beside methods",
    methods=("none", "inforeg", "inforeg_adaptive", "inforeg_official"),
    seeds=(0, 1, 2, 3, 4),
    overrides=("experiment=views",),
)
