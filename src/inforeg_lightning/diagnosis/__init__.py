"""Does a multimodal model suffer, and from what? Measured, and said in plain words."""

from inforeg_lightning.diagnosis.conduct import diagnose
from inforeg_lightning.diagnosis.errors import DiagnosisError
from inforeg_lightning.diagnosis.report import Diagnosis, ModalityState
from inforeg_lightning.diagnosis.rules import (
    HARMS,
    HEALTHY,
    STARVED,
    STATES,
    UNCLEAR,
    WEAK,
    Thresholds,
)
from inforeg_lightning.diagnosis.subsets import Subsets, compare_subsets, evaluate_subsets

__all__ = [
    "HARMS",
    "HEALTHY",
    "STARVED",
    "STATES",
    "UNCLEAR",
    "WEAK",
    "Diagnosis",
    "DiagnosisError",
    "ModalityState",
    "Subsets",
    "Thresholds",
    "compare_subsets",
    "diagnose",
    "evaluate_subsets",
]
