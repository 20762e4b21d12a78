"""The paper's Figure 7."""

from running.study import Study

VALUES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
STUDY = Study(
    "Fig. 7: accuracy against β",
    points=tuple((f"callbacks.inforeg.beta={value}",) for value in VALUES),
    plots=("beta",),
)
