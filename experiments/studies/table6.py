"""The paper's Table 6."""

from running.study import Study

STUDY = Study(
    "Table 6: joint training, OGM, PMR, AGM and InfoReg on CMU-MOSI's three modalities",
    methods=("none", "ogm", "pmr", "agm", "inforeg"),
    overrides=("experiment=cmu_mosi",),
)
