"""The demo: joint training beside InfoReg, as the README shows it."""

from running.study import Study

STUDY = Study(
    "the README's table: joint training beside InfoReg with two windows",
    methods=("none", "inforeg", "inforeg_adaptive"),
)
