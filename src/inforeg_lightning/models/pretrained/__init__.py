"""Encoders that were trained before, and what of them is trained further."""

from inforeg_lightning.models.pretrained.tuning import blocks_of, keep_still, tune

__all__ = ["blocks_of", "keep_still", "tune"]
