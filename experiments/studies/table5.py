"""The paper's Table 5."""

from running.study import Study

FUSIONS = ("concat", "sum", "gated", "film")
STUDY = Study(
    "Table 5: joint training and InfoReg on four fusions",
    points=tuple((f"fusion={fusion}",) for fusion in FUSIONS),
)
