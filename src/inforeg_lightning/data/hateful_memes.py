"""Hateful Memes: pictures with words, hateful by both together more often than by one alone."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning.pytorch as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from inforeg_lightning.data.loading.augment import IMAGENET_MEAN, IMAGENET_STD
from inforeg_lightning.data.loading.in_memory import Batch, SeededShuffle
from inforeg_lightning.data.loading.text import Vocabulary
from inforeg_lightning.data.store.names import folder_argument

CLASSES = ("not hateful", "hateful")
SIZE, RESIZED = 224, 256
"""Height and width of the pictures that the network takes, and from which the middle is cut."""

_FILES = {
    "train": ("train.jsonl",),
    "val": ("dev_seen.jsonl", "dev.jsonl"),
    "test": ("test_seen.jsonl", "test.jsonl"),
}
_LAYOUT = """\
  {root}/
    train.jsonl
    dev_seen.jsonl or dev.jsonl
    test_seen.jsonl or test.jsonl   (with labels)
    img/  01235.png, …
  (lines like {{"id": 1235, "img": "img/01235.png", "label": 1, "text": "…"}})"""


class Meme(NamedTuple):
    """One line of a file: where the picture is, its words, and whether it is hateful."""

    picture: Path
    text: str
    label: int


class HatefulMemesDataModule(L.LightningDataModule):
    """Hateful Memes (Kiela et al., NeurIPS 2020): 8,500 memes to train on, 500 and 1,000 to test.

    The files are those that the challenge distributes. Words are indices into a vocabulary that is
    made of the training memes; pictures are decoded as they are needed, resized to 256 × 256, of
    which the middle 224 × 224 stay, and normalised as ImageNet is (MMF's transforms). Nothing is
    random but the order.

    Batches are ``{"image": float32 (B, 3, 224, 224), "text": int64 (B, words), "label": int64
    (B,)}``; 0 is no word and 1 one that is not in the vocabulary.

    Args:
        root: Folder of the files.
        words: Words of a meme that are kept.
        vocabulary: Number of indices.
        batch_size: Samples per batch.
        seed: Seed of the order of training batches.
        num_workers: Worker processes of each loader; by default a few, as there are cores.

    Raises:
        FileNotFoundError: ``check`` or ``setup`` does not find a file; how they are to lie is said.
        ValueError: An argument is wrong, or a line of a file.
    """

    modalities: tuple[str, ...] = ("image", "text")
    class_names: tuple[str, ...] = CLASSES

    def __init__(
        self,
        root: str | os.PathLike[str],
        words: int = 48,
        vocabulary: int = 8000,
        batch_size: int = 32,
        seed: int = 0,
        num_workers: int | None = None,
    ) -> None:
        super().__init__()
        folder_argument("root", root)
        if words < 1 or vocabulary < 3:
            raise ValueError(
                f"`words` must be at least 1 and `vocabulary` at least 3, got {words} and "
                f"{vocabulary}"
            )
        self.root, self.words, self.vocabulary = Path(root), words, vocabulary
        self.batch_size, self.seed = batch_size, seed
        self.num_workers = min(4, os.cpu_count() or 1) if num_workers is None else num_workers
        self._memes: dict[str, list[Meme]] = {}
        self._splits: dict[str, Memes] = {}

    @property
    def num_classes(self) -> int:
        """2."""
        return len(CLASSES)

    def check(self) -> None:
        """Read the lists and look whether all pictures are there, without reading them.

        Raises:
            FileNotFoundError: One is not; how they are to lie is said.
            ValueError: A line of a list is wrong.
        """
        if not self._memes:
            self._memes = {split: self._read(names) for split, names in _FILES.items()}

    def setup(self, stage: str | None = None) -> None:
        """Read the lists and make the vocabulary."""
        if self._splits:
            return
        self.check()
        known = Vocabulary([meme.text for meme in self._memes["train"]], self.vocabulary)
        for split, memes in self._memes.items():
            words = known.encode([meme.text for meme in memes], self.words)
            self._splits[split] = Memes(memes, torch.from_numpy(words))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled training batches."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches, in a fixed order."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches, in a fixed order."""
        return self._loader("test")

    def _loader(self, split: str) -> DataLoader[Batch]:
        if split not in self._splits:
            raise RuntimeError("Hateful Memes is not loaded; call setup() first")
        memes = self._splits[split]
        return DataLoader(
            memes,
            batch_size=self.batch_size,
            sampler=SeededShuffle(memes, self.seed) if split == "train" else None,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
        )

    def _read(self, names: Sequence[str]) -> list[Meme]:
        path = next((self.root / n for n in names if (self.root / n).is_file()), None)
        if path is None:
            raise self._missing(f"there is no {' or '.join(names)}")
        memes = []
        # Not splitlines(), which would break a text at characters that JSON leaves as they are.
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
            if line.strip():
                memes.append(self._meme(line, path, number))
        if not memes:
            raise ValueError(f"{path} has no lines; fetch it again")
        return memes

    def _meme(self, line: str, path: Path, number: int) -> Meme:
        where = f"{path}, line {number}"
        try:
            found: Any = json.loads(line)
            picture, text = self.root / found["img"], found["text"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(
                f"{where} must be a JSON object with img, text and label: {error!r:.100}"
            ) from None
        label = found.get("label")
        if label is None:
            raise ValueError(
                f"{where} has no label, as the test.jsonl of the challenge while it ran; give the "
                "labelled test_seen.jsonl that was published later"
            )
        if type(label) is not int or label not in (0, 1) or not isinstance(text, str):
            raise ValueError(f"{where} must have a label of 0 or 1 and a text, but is {line:.80}")
        if not picture.is_file():
            raise self._missing(f"there is no {picture} ({where})")
        return Meme(picture, text, label)

    def _missing(self, what: str) -> FileNotFoundError:
        return FileNotFoundError(
            f"Hateful Memes: {what}. Expected below root={self.root}:\n"
            f"{_LAYOUT.format(root=self.root)}"
        )


class Memes(Dataset[Batch]):
    """The memes of one split; a picture is decoded when it is asked for.

    Args:
        memes: The memes.
        words: The indices of their words, ``(N, words)``.
    """

    def __init__(self, memes: Sequence[Meme], words: Tensor) -> None:
        # Arrays: lists of Python objects are copied page by page into forked workers.
        self.pictures = np.array([str(meme.picture) for meme in memes])
        self.words = words
        self.label = torch.tensor([meme.label for meme in memes])

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, index: int) -> Batch:
        return {
            "image": torch.from_numpy(read_picture(Path(str(self.pictures[index])))),
            "text": self.words[index],
            "label": self.label[index],
        }


def read_picture(path: Path) -> NDArray[np.float32]:
    """A picture as the network takes it, ``(3, 224, 224)``.

    Raises:
        ValueError: It cannot be decoded.
    """
    from PIL import Image

    try:
        with Image.open(path) as file:
            whole = file.convert("RGB").resize((RESIZED, RESIZED), Image.Resampling.BILINEAR)
    except Exception as error:  # Pillow's decoders have errors of many kinds
        raise ValueError(f"{path} cannot be read as a picture ({error}); fetch it again") from None
    edge = (RESIZED - SIZE) // 2
    pixels = np.asarray(whole, np.float32)[edge : edge + SIZE, edge : edge + SIZE] / 255
    normal = (pixels - np.array(IMAGENET_MEAN)) / np.array(IMAGENET_STD)
    return np.ascontiguousarray(normal.transpose(2, 0, 1), np.float32)
