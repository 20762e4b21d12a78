"""The methods, each a Lightning callback."""

from inforeg_lightning.callbacks.base import UnimodalCallback, report_unimodal
from inforeg_lightning.callbacks.inforeg import InfoRegCallback
from inforeg_lightning.callbacks.ogm import OGMCallback
from inforeg_lightning.callbacks.ogm_ge import OGMGECallback

__all__ = [
    "InfoRegCallback",
    "OGMCallback",
    "OGMGECallback",
    "UnimodalCallback",
    "report_unimodal",
]
