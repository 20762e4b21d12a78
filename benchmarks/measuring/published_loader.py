"""What the published CREMA-D loader does for each sample, written afresh from its description.

Nothing is kept from one epoch to the next: three JPEG files are opened by PIL, each gets a crop
and a mirroring of its own, and the sound is read, resampled and transformed, every time.
"""

import os
import time
from pathlib import Path

import numpy as np
import scipy.fft
import scipy.signal
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision import transforms

from inforeg_lightning.data.cremad import CLASSES as CREMAD_CLASSES
from inforeg_lightning.data.loading.augment import IMAGENET_MEAN, IMAGENET_STD
from inforeg_lightning.data.prepare.decode import read_frames

FULL_SIZE = 10_000  # larger than any frame, so that none is reduced
_WINDOW = scipy.signal.get_window("hann", 512).astype(np.float32)


def write_jpegs(root: Path, names: list[str], folder: Path) -> int:
    """The published preparation: three frames a second, at full size, each a JPEG file.

    Args:
        root: The raw tree.
        names: Its clips.
        folder: Gets a folder for each clip. Quality 95 with halved colour, OpenCV's default.

    Returns:
        The mean size of a file in bytes.
    """
    sizes = []
    for name in names:
        (folder / name).mkdir(parents=True)
        video = root / "VideoFlash" / f"{name}.flv"
        for number, pixels in enumerate(read_frames(video, 3, FULL_SIZE)):
            file = folder / name / f"{number:04d}.jpg"
            Image.fromarray(pixels).save(file, quality=95, subsampling="4:2:0")
            sizes.append(file.stat().st_size)
    return round(float(np.mean(sizes)))


class PublishedLoader(Dataset[dict[str, Tensor]]):
    """The training samples of some clips.

    Args:
        root: The raw tree, for its sound.
        jpegs: The folder of ``write_jpegs``.
        names: The clips.
    """

    def __init__(self, root: Path, jpegs: Path, names: list[str]) -> None:
        self.root, self.jpegs, self.names = root, jpegs, names
        self.rng = np.random.default_rng(0)
        self.transform = transforms.Compose(
            [
                transforms.RandomResizedCrop(224),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        name = self.names[index]
        return {
            "audio": torch.from_numpy(self.sound(name))[None],
            "video": self.video(name),
            "label": torch.tensor(CREMAD_CLASSES.index(name.split("_")[2])),
        }

    def video(self, name: str) -> Tensor:
        """Three random frames in order of time, float32 ``(3, T, 224, 224)``."""
        files = sorted(os.listdir(self.jpegs / name))
        chosen = np.sort(self.rng.choice(len(files), 3, replace=False))
        frames = []
        for number in chosen:
            with Image.open(self.jpegs / name / files[number]) as image:
                frames.append(self.transform(image.convert("RGB")))
        return torch.stack(frames, dim=1)

    def sound(self, name: str) -> NDArray[np.float32]:
        """The log spectrogram of the first three seconds, float32 ``(257, 188)``."""
        samples, rate = soundfile.read(self.root / "AudioWAV" / f"{name}.wav", dtype="float32")
        samples = soxr.resample(samples, rate, 22_050, quality="HQ")
        padded = np.pad(np.clip(np.tile(samples, 3)[: 3 * 22_050], -1, 1), 256)
        frames = np.lib.stride_tricks.sliding_window_view(padded, 512)[::353]
        return np.log(np.abs(scipy.fft.rfft(frames * _WINDOW).T) + np.float32(1e-7))

    def parts(self) -> dict[str, float]:
        """Milliseconds of CPU of the sound and of the pictures of one sample."""
        found = {}
        for part in (self.sound, self.video):
            start = time.process_time()
            for name in self.names:
                part(name)
            found[part.__name__] = 1000 * (time.process_time() - start) / len(self)
        return found
