"""CMU-MOSI: sentiment of spoken opinions, as sequences of text, audio and vision features."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from inforeg_lightning.data.loading.in_memory import Batch, in_memory_loader
from inforeg_lightning.data.loading.pickles import read_pickle
from inforeg_lightning.data.loading.utterances import TABLE, Utterances, read_utterances
from inforeg_lightning.data.store.names import folder_argument

MODALITIES = ("text", "audio", "vision")

_FILES = ("mosi_data.pkl", "mosi_raw.pkl", "aligned_50.pkl")
_TASKS = {
    "binary": ("not positive", "positive"),
    "seven": ("-3", "-2", "-1", "0", "1", "2", "3"),
    "regression": ("sentiment",),
}
_ZEROS = ("negative", "drop")
_SPLITS = {"train": "train", "val": "valid", "test": "test"}
_LAYOUT = """\
  {root}/
    mosi_data.pkl or mosi_raw.pkl (as MultiBench distributes them)
    or aligned_50.pkl (as MMSA distributes it, in MOSI/Processed)
    or label.csv (as MMSA distributes it, in MOSI/Raw) and a CSV file per utterance:
       text/  audio/  vision/   <video_id>/<clip_id>.csv or <video_id>_<clip_id>.csv"""


class CMUMOSIDataModule(L.LightningDataModule):
    """Utterances of CMU-MOSI (Zadeh et al., 2016): text, audio and vision.

    The file is one that MultiBench or MMSA distributes: a pickle of NumPy arrays, the published
    splits in it. Nothing else that a pickle could ask for is admitted when it is read. As in
    MultiBench, an utterance without any text is dropped and counted in ``dropped``, and an audio
    feature of ``-inf`` becomes 0; so does any other number that is not finite, in every modality.
    Where the file has BERT's mask (``text_bert`` of MMSA), the frames beyond it become zeros, the
    sign of padding by which ``SequenceTransformer`` finds it; elsewhere padding is zeros already.
    Sequences of such a file are aligned by word.

    Or the features are a CSV file per utterance and modality, with a line per frame, as tools that
    extract features write them, beside MMSA's ``label.csv``: :mod:`~inforeg_lightning.data.
    loading.utterances`. Each modality then has its own ``T``, padded behind with zeros.

    Batches are ``{modality: float32 (B, T, D), "label": int64 (B,)}``, of regression the label
    float32, and with ``gaps`` also ``"present": {modality: bool (B,)}``.

    Args:
        root: Folder of the file.
        file: Its name, or ``None`` (default) for the first that is there of ``mosi_data.pkl``,
            ``mosi_raw.pkl``, ``aligned_50.pkl`` and ``label.csv``.
        task: ``"binary"``: whether the label is above 0, as in MultiBench. ``"seven"``: the label
            rounded to -3, …, 3, as in MMSA. ``"regression"``: the label itself.
        zeros: What a label of 0 is in the binary task: ``"negative"``, as in MultiBench, or
            ``"drop"``: such utterances are left out (the literature's "non-zero" accuracy).
        max_frames: At most this many frames of each sequence are kept, from its first that has
            text, or ``None`` for all; MultiBench: 50.
        batch_size: Samples per training batch; evaluation takes at least 256. MultiBench: 32.
        seed: Seed of the order of training batches.
        num_workers: Worker processes of the loaders; the data are in memory, so 0 is fastest.
        gaps: Of CSV files: whether an utterance may lack a modality.

    Raises:
        ValueError: An argument is not one of those named.
        FileNotFoundError: ``setup`` does not find the file; how it is to lie is said.
        RuntimeError: ``setup`` finds a file that is not one of these, or a loader is asked for
            before it.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        file: str | None = None,
        task: str = "binary",
        zeros: str = "negative",
        max_frames: int | None = 50,
        batch_size: int = 32,
        seed: int = 0,
        num_workers: int = 0,
        gaps: bool = False,
    ) -> None:
        super().__init__()
        folder_argument("root", root)
        for name, value, known in (("task", task, _TASKS), ("zeros", zeros, _ZEROS)):
            if value not in known:
                raise ValueError(f"`{name}` must be one of {', '.join(known)}, got {value!r}")
        if max_frames is not None and max_frames < 1:
            raise ValueError(f"`max_frames` must be at least 1 or None, got {max_frames}")
        self.root, self.file, self.task, self.zeros = Path(root), file, task, zeros
        self.max_frames, self.batch_size = max_frames, batch_size
        self.seed, self.num_workers = seed, num_workers
        self.gaps = gaps
        self.dropped: dict[str, int] = {}
        self._splits: dict[str, dict[str, Any]] = {}

    @property
    def modalities(self) -> tuple[str, ...]:
        """``("text", "audio", "vision")``."""
        return MODALITIES

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the task's classes."""
        return _TASKS[self.task]

    @property
    def num_classes(self) -> int:
        """2 or 7; of regression 1, the number itself."""
        return len(self.class_names)

    def check(self) -> None:
        """Look whether the file is there, without reading it.

        Raises:
            FileNotFoundError: It is not; how it is to lie is said.
        """
        self._path()

    def setup(self, stage: str | None = None) -> None:
        """Read the file."""
        if self._splits:
            return
        path = self._path()
        if path.name == TABLE:
            read = read_utterances(self.root, MODALITIES, self.max_frames, self.gaps)
            self._splits = {s: self._kept(read[name], path, name) for s, name in _SPLITS.items()}
            return
        if self.gaps:
            raise ValueError(f"`gaps` are those of {TABLE} and its files; {path} has none")
        content = read_pickle(path)
        if not isinstance(content, dict) or not set(_SPLITS.values()) <= set(content):
            raise _wrong(path, "is no mapping with train, valid and test")
        for split, name in _SPLITS.items():
            self._splits[split] = self._read(content[name], path, name)
        widths = {split: [t[m].shape[2] for m in MODALITIES] for split, t in self._splits.items()}
        if len({*map(tuple, widths.values())}) > 1:
            self._splits.clear()
            raise _wrong(path, f"has features of other widths in other splits: {widths}")

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled training batches."""
        return self._loader("train", self.seed)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Validation batches, in a fixed order."""
        return self._loader("val")

    def test_dataloader(self) -> DataLoader[Batch]:
        """Test batches, in a fixed order."""
        return self._loader("test")

    def _loader(self, split: str, shuffle_seed: int | None = None) -> DataLoader[Batch]:
        if split not in self._splits:
            raise RuntimeError("CMU-MOSI is not loaded; call setup() first")
        batch_size = self.batch_size if split == "train" else max(self.batch_size, 256)
        return in_memory_loader(self._splits[split], batch_size, self.num_workers, shuffle_seed)

    def _path(self) -> Path:
        names = (*_FILES, TABLE) if self.file is None else (self.file,)
        for name in names:
            if (self.root / name).is_file():
                return self.root / name
        raise FileNotFoundError(
            f"CMU-MOSI lacks {' or '.join(names)}. Expected below root={self.root}:\n"
            f"{_LAYOUT.format(root=self.root)}"
        )

    def _read(self, part: Any, path: Path, name: str) -> dict[str, Tensor]:
        """The samples of a split."""
        arrays = _arrays(part, path, name)
        sentiment = arrays.pop("label")
        text = (arrays["text"] != 0).any(axis=2)
        keep = text.any(axis=1)
        self.dropped[name] = int((~keep).sum())
        keep, label = self._labels(sentiment, keep, path, name)
        # Padding in front goes behind, so that a cut takes words and not padding.
        starts = text.argmax(axis=1)
        frames = min(text.shape[1], self.max_frames or text.shape[1])
        tensors = {}
        for modality, values in arrays.items():
            moved = np.zeros((len(values), frames, values.shape[2]), np.float32)
            for row, start in enumerate(starts):
                some = values[row, start : start + frames]
                moved[row, : len(some)] = some
            tensors[modality] = torch.from_numpy(moved[keep])
        return tensors | {"label": label}

    def _kept(self, of: Utterances, path: Path, name: str) -> dict[str, Any]:
        """The samples of a split that were read from CSV files."""
        if np.abs(of.label).max() > 3:
            raise _wrong(path, f"must hold one label from -3 to 3 per utterance in {name}")
        keep, label = self._labels(of.label, np.ones(len(of.label), bool), path, name)
        found = {m: torch.from_numpy(values[keep]) for m, values in of.features.items()}
        present = {m: torch.from_numpy(has[keep]) for m, has in of.present.items()}
        return found | {"label": label} | ({"present": present} if self.gaps else {})

    def _labels(
        self, sentiment: NDArray[Any], keep: NDArray[np.bool_], path: Path, name: str
    ) -> tuple[NDArray[np.bool_], Tensor]:
        """Which utterances the task keeps, and its labels of these."""
        if self.task == "binary":
            if self.zeros == "drop":
                keep = keep & (sentiment != 0)
            label = (sentiment > 0).astype(np.int64)
        elif self.task == "seven":
            label = (np.clip(np.rint(sentiment), -3, 3) + 3).astype(np.int64)
        else:
            label = sentiment.astype(np.float32)
        if not keep.any():
            raise _wrong(path, f"has no utterance in {name} that can be used")
        return keep, torch.from_numpy(label[keep])


def _arrays(part: Any, path: Path, name: str) -> dict[str, NDArray[Any]]:
    """Modality -> float32 ``(N, T, D)``, finite, and ``"label"`` -> float64 ``(N,)``."""
    if not isinstance(part, Mapping):
        raise _wrong(path, f"has no mapping for {name}")
    target = "regression_labels" if "regression_labels" in part else "labels"
    lacking = [key for key in (*MODALITIES, target) if key not in part]
    if lacking:
        raise _wrong(path, f"lacks {', '.join(lacking)} in {name}")
    try:
        found = {m: np.array(part[m], np.float32) for m in MODALITIES}
        label = np.asarray(part[target], np.float64)
        mask = np.asarray(part["text_bert"])[:, 1] != 0 if "text_bert" in part else None
    except (ValueError, TypeError, IndexError) as error:
        raise _wrong(path, f"has arrays in {name} that are no numbers: {error}") from None
    shapes = {m: values.shape for m, values in found.items()}
    if any(len(s) != 3 or s[:2] != shapes["text"][:2] for s in shapes.values()):
        raise _wrong(path, f"must hold aligned arrays (N, T, D) in {name}, but has {shapes}")
    samples, frames, _ = shapes["text"]
    if label.size != samples or not np.isfinite(label).all() or np.abs(label).max() > 3:
        raise _wrong(path, f"must hold one label from -3 to 3 per utterance in {name}")
    if mask is not None and mask.shape != (samples, frames):
        raise _wrong(path, f"has a text_bert in {name} that does not fit its text")
    for values in found.values():
        values[~np.isfinite(values)] = 0
        if mask is not None:
            values[~mask] = 0
    return found | {"label": label.reshape(-1)}


def _wrong(path: Path, what: str) -> RuntimeError:
    return RuntimeError(
        f"{path} {what}; give the file as MultiBench (mosi_data.pkl, mosi_raw.pkl) or MMSA "
        "(aligned_50.pkl, label.csv) distributes it"
    )
