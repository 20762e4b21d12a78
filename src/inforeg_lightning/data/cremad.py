"""CREMA-D: six emotions, acted in short sentences before a camera."""

from inforeg_lightning.data.splits import CREMAD_CLASSES
from inforeg_lightning.data.store_dataset import any_frames
from inforeg_lightning.data.store_module import StoreDataModule


class CREMADDataModule(StoreDataModule):
    """CREMA-D from a prepared store: 7,442 clips of 91 actors.

    Audio is ``(B, 1, 257, 188)``, the log spectrogram of the first three seconds. All 91 actors
    stand in both halves of the published lists, so that a network may know a face or a voice;
    ``split="group"`` keeps actors apart. Arguments and the rest: ``StoreDataModule``.
    """

    data = "cremad"
    title = "CREMA-D"
    class_names = CREMAD_CLASSES
    shapes = {"audio": (1, 257, 188), "video": (3, 3, 224, 224)}  # noqa: RUF012
    choose = staticmethod(any_frames)
