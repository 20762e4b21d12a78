"""The paper's Figure 8."""

from running.study import Study

VALUES = (0.01, 0.02, 0.04, 0.06, 0.08, 0.1)
STUDY = Study(
    "Fig. 8: accuracy against K",
    points=tuple((f"callbacks.inforeg.K={value}",) for value in VALUES),
    plots=("K",),
)
