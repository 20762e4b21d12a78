"""The methods, each a Lightning callback."""

from inforeg_lightning.callbacks.agm import AGMCallback
from inforeg_lightning.callbacks.auto_balance import AutoBalanceCallback
from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.callbacks.dgl import DGLCallback
from inforeg_lightning.callbacks.gblending import GBlendingCallback
from inforeg_lightning.callbacks.greedy import GreedyCallback
from inforeg_lightning.callbacks.inforeg import InfoRegCallback
from inforeg_lightning.callbacks.mmpareto import MMParetoCallback
from inforeg_lightning.callbacks.mslr import MSLRCallback
from inforeg_lightning.callbacks.ogm import OGMCallback
from inforeg_lightning.callbacks.ogm_ge import OGMGECallback
from inforeg_lightning.callbacks.pmr import PMRCallback
from inforeg_lightning.engine.reporting import report_unimodal

__all__ = [
    "AGMCallback",
    "AutoBalanceCallback",
    "DGLCallback",
    "GBlendingCallback",
    "GreedyCallback",
    "InfoRegCallback",
    "MMParetoCallback",
    "MSLRCallback",
    "MethodCallback",
    "OGMCallback",
    "OGMGECallback",
    "PMRCallback",
    "report_unimodal",
]
