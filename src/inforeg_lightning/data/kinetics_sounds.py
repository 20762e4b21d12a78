"""Kinetics-Sounds: 31 actions that can be seen and heard."""

from inforeg_lightning.data.splits import KINETICS_SOUNDS_CLASSES
from inforeg_lightning.data.store_dataset import segment_frames
from inforeg_lightning.data.store_module import StoreDataModule


class KineticsSoundsDataModule(StoreDataModule):
    """Kinetics-Sounds from a prepared store: 31 classes of clips of ten seconds.

    Audio is ``(B, 1, 1024, 128)``, Kaldi filter banks with time first, as the published loader
    has them. Clips with 3 frames or fewer, at one a second, are dropped and counted.
    ``split="group"`` keeps clips of one source video together. Arguments and the rest:
    ``StoreDataModule``.
    """

    data = "kinetics_sounds"
    title = "Kinetics-Sounds"
    class_names = KINETICS_SOUNDS_CLASSES
    shapes = {"audio": (1, 1024, 128), "video": (3, 3, 224, 224)}  # noqa: RUF012
    least_frames = 4
    choose = staticmethod(segment_frames)
    time_first = True
