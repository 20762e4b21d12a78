"""The balancing methods: what each measures and does to a step, for any loop of PyTorch."""

from inforeg_lightning.engine.method import Method
from inforeg_lightning.methods._mslr_strategies import DynamicRates, KeepRates, SmoothRates
from inforeg_lightning.methods.agm import AGM
from inforeg_lightning.methods.alternating_greedy import AlternatingGreedy
from inforeg_lightning.methods.auto_balance import AutoBalance
from inforeg_lightning.methods.dgl import DGL
from inforeg_lightning.methods.gblending import GBlending
from inforeg_lightning.methods.greedy import Greedy
from inforeg_lightning.methods.inforeg import InfoReg
from inforeg_lightning.methods.inforeg_official import OfficialInfoReg
from inforeg_lightning.methods.mlb import MLB
from inforeg_lightning.methods.mmpareto import MMPareto
from inforeg_lightning.methods.modality_dropout import ModalityDropout
from inforeg_lightning.methods.monitor import Monitor
from inforeg_lightning.methods.mslr import MSLR
from inforeg_lightning.methods.ogm import OGM
from inforeg_lightning.methods.ogm_ge import OGMGE
from inforeg_lightning.methods.opm import OPM
from inforeg_lightning.methods.pdmp import PDMP
from inforeg_lightning.methods.pmr import PMR
from inforeg_lightning.methods.redreg import RedReg
from inforeg_lightning.methods.relearning import ReLearning
from inforeg_lightning.methods.torchjd import TorchJD
from inforeg_lightning.methods.unimodal_losses import UnimodalLosses

__all__ = [
    "AGM",
    "DGL",
    "MLB",
    "MSLR",
    "OGM",
    "OGMGE",
    "OPM",
    "PDMP",
    "PMR",
    "AlternatingGreedy",
    "AutoBalance",
    "DynamicRates",
    "GBlending",
    "Greedy",
    "InfoReg",
    "KeepRates",
    "MMPareto",
    "Method",
    "ModalityDropout",
    "Monitor",
    "OfficialInfoReg",
    "ReLearning",
    "RedReg",
    "SmoothRates",
    "TorchJD",
    "UnimodalLosses",
]
