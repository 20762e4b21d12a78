"""The methods, each a Lightning callback."""

from inforeg_lightning.callbacks.agm import AGMCallback
from inforeg_lightning.callbacks.alternating_greedy import AlternatingGreedyCallback
from inforeg_lightning.callbacks.auto_balance import AutoBalanceCallback
from inforeg_lightning.callbacks.base import MethodCallback
from inforeg_lightning.callbacks.dgl import DGLCallback
from inforeg_lightning.callbacks.gblending import GBlendingCallback
from inforeg_lightning.callbacks.greedy import GreedyCallback
from inforeg_lightning.callbacks.inforeg import InfoRegCallback
from inforeg_lightning.callbacks.mlb import MLBCallback
from inforeg_lightning.callbacks.mmpareto import MMParetoCallback
from inforeg_lightning.callbacks.modality_dropout import ModalityDropoutCallback
from inforeg_lightning.callbacks.mslr import MSLRCallback
from inforeg_lightning.callbacks.ogm import OGMCallback
from inforeg_lightning.callbacks.ogm_ge import OGMGECallback
from inforeg_lightning.callbacks.opm import OPMCallback
from inforeg_lightning.callbacks.pdmp import PDMPCallback
from inforeg_lightning.callbacks.pmr import PMRCallback
from inforeg_lightning.callbacks.redreg import RedRegCallback
from inforeg_lightning.callbacks.relearning import ReLearningCallback
from inforeg_lightning.callbacks.torchjd import TorchJDCallback
from inforeg_lightning.callbacks.unimodal_losses import UnimodalLossesCallback
from inforeg_lightning.engine.reporting import report_unimodal

__all__ = [
    "AGMCallback",
    "AlternatingGreedyCallback",
    "AutoBalanceCallback",
    "DGLCallback",
    "GBlendingCallback",
    "GreedyCallback",
    "InfoRegCallback",
    "MLBCallback",
    "MMParetoCallback",
    "MSLRCallback",
    "MethodCallback",
    "ModalityDropoutCallback",
    "OGMCallback",
    "OGMGECallback",
    "OPMCallback",
    "PDMPCallback",
    "PMRCallback",
    "ReLearningCallback",
    "RedRegCallback",
    "TorchJDCallback",
    "UnimodalLossesCallback",
    "report_unimodal",
]
