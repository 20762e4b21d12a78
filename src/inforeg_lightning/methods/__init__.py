"""The balancing methods: what each measures and does to a step, for any loop of PyTorch."""

from inforeg_lightning.engine.method import Method
from inforeg_lightning.methods.agm import AGM
from inforeg_lightning.methods.auto_balance import AutoBalance
from inforeg_lightning.methods.dgl import DGL
from inforeg_lightning.methods.gblending import GBlending
from inforeg_lightning.methods.greedy import Greedy
from inforeg_lightning.methods.inforeg import InfoReg
from inforeg_lightning.methods.inforeg_official import OfficialInfoReg
from inforeg_lightning.methods.mmpareto import MMPareto
from inforeg_lightning.methods.mslr import MSLR
from inforeg_lightning.methods.ogm import OGM
from inforeg_lightning.methods.ogm_ge import OGMGE
from inforeg_lightning.methods.pmr import PMR

__all__ = [
    "AGM",
    "DGL",
    "MSLR",
    "OGM",
    "OGMGE",
    "PMR",
    "AutoBalance",
    "GBlending",
    "Greedy",
    "InfoReg",
    "MMPareto",
    "Method",
    "OfficialInfoReg",
]
