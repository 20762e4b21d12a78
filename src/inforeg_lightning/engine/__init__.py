"""Runs a balancing method on a model: what it measures, keeps and checks; torch only.

``Regulator`` is the entry for any loop; everything else here is private to the package.
"""

from inforeg_lightning.engine.regulator import Regulator
from inforeg_lightning.engine.reporting import report_unimodal

__all__ = ["Regulator", "report_unimodal"]
