"""The paper's Table 2 and Figure 6."""

from running.study import Study

STUDY = Study(
    "Table 2 and Fig. 6: joint training and InfoReg, joint loss only", plots=("embeddings",)
)
