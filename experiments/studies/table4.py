"""The paper's Table 4."""

from running.study import Study

STUDY = Study(
    "Table 4: regulation inside the window, outside it and throughout",
    methods=("none", "inforeg", "inforeg_outside", "inforeg_always"),
    plots=("embeddings",),
)
