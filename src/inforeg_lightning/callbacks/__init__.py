"""The methods, each a Lightning callback."""

from inforeg_lightning.callbacks.base import UnimodalCallback, report_unimodal
from inforeg_lightning.callbacks.inforeg import InfoRegCallback

__all__ = ["InfoRegCallback", "UnimodalCallback", "report_unimodal"]
