"""InfoReg for PyTorch Lightning: keep the easiest modality from starving the others."""

from inforeg_lightning.callbacks import InfoRegCallback, report_unimodal

__all__ = ["InfoRegCallback", "report_unimodal"]
