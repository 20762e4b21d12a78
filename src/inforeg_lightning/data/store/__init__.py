"""The prepared store: decoded clips in a few flat files, read without decoding media again.

A store is one folder:

================  ================================================================================
``store.json``    settings, sizes, checksums; written last, so that it marks a whole store
``index.csv``     one line per clip: name, label, group, split, number and size of frames, checksums
``frames.bin``    frames back to back: raw uint8 (H, W, 3), or JPEG
``offsets.npy``   int64: where each frame of ``frames.bin`` begins, and the end of the last
``audio.bin``     float16 spectrograms (F, T) back to back, all of one shape
``rejected.csv``  ``name,reason`` of the clips that could not be used
================  ================================================================================
"""

from inforeg_lightning.data.store.clips import Clips
from inforeg_lightning.data.store.files import StoreError
from inforeg_lightning.data.store.reader import Store
from inforeg_lightning.data.store.writer import StoreWriter

__all__ = ["Clips", "Store", "StoreError", "StoreWriter"]
