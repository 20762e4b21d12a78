"""Does a multimodal model suffer, and from what? Measured, and said in plain words."""

from typing import TYPE_CHECKING, Any

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
from inforeg_lightning.diagnosis.suspicions import Suspicions, SuspicionThresholds

if TYPE_CHECKING:
    from inforeg_lightning.diagnosis.monitor import ModalityMonitor

__all__ = [
    "HARMS",
    "HEALTHY",
    "STARVED",
    "STATES",
    "UNCLEAR",
    "WEAK",
    "Diagnosis",
    "DiagnosisError",
    "ModalityMonitor",
    "ModalityState",
    "Subsets",
    "SuspicionThresholds",
    "Suspicions",
    "Thresholds",
    "compare_subsets",
    "diagnose",
    "evaluate_subsets",
]


def __getattr__(name: str) -> Any:
    """Import the callback, and Lightning with it, when it is first asked for."""
    if name == "ModalityMonitor":
        from inforeg_lightning.diagnosis.monitor import ModalityMonitor

        return ModalityMonitor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
