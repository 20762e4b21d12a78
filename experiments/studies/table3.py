"""The paper's Table 3."""

from running.study import Study

STUDY = Study(
    "Table 3: the same with unimodal losses",
    overrides=("model.unimodal_losses=true",),
    plots=("embeddings",),
)
