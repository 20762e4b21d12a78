"""Data of your own: one CSV file, and per modality some columns, an array file or images."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from inforeg_lightning.data.loading.in_memory import SPLITS, Batch, in_memory_loader
from inforeg_lightning.data.loading.rows import (
    Rows,
    TableError,
    image_paths,
    kind_of,
    read_array,
    read_images,
    read_numbers,
    read_rows,
)
from inforeg_lightning.data.loading.splits import Split, check_groups, shared_split
from inforeg_lightning.data.prepare.lists import SplitError
from inforeg_lightning.data.store.names import folder_argument

_LAYOUT = """\
  {root}/
    {table}   (CSV in UTF-8 with a header; one line per sample){files}"""


class TableDataModule(L.LightningDataModule):
    """A table of samples, one per line, with a label; small data, held in memory.

    Each modality is one of these, with paths relative to ``root``:

    - ``{"columns": ["age", "height"]}``: numbers in columns of the table, shape ``(D,)``.
    - ``{"array": "speech.npy"}``: an array of numbers whose first dimension is the line of the
      table, in the same order; ``"key"`` names one in an ``.npz`` file of several. Sound, text and
      anything else comes in this form: as embeddings, spectrograms or token indices.
    - ``{"images": "photos", "column": "file", "size": [64, 64]}``: one image file per sample, whose
      name in the folder ``photos`` is in column ``file``, shape ``(3, 64, 64)``. Without ``size``
      all must have one size. ``"mode": "L"`` makes them grey.

    Values are standardised over the training split: vectors feature by feature, images channel by
    channel, other arrays as a whole. ``"standardise": False`` leaves a modality as it is: arrays of
    integers are then integers (token indices), images are from 0 to 1. Nothing is skipped: whatever
    cannot be used is an error that names the file, the line and what to do.

    Batches are ``{modality: (B, *shape), "label": int64 (B,)}``.

    Args:
        root: Folder below which the files lie.
        modalities: Modality -> what it is read from.
        table: The CSV file.
        label: Its column of labels; any text.
        classes: The labels, in the order of their class indices; by default all that there are,
            sorted as text. With it, any other label is an error.
        split: Column that says ``train``, ``val`` or ``test``. By default samples are dealt out by
            class, the same shares of each.
        group: Column of what must not be in two splits, such as the person; with ``split``, that is
            checked.
        id: Column of what no two samples may share.
        batch_size: Samples per training batch; evaluation takes at least 256.
        seed: Seed of the order of training batches.
        num_workers: Worker processes of the loaders; the data are in memory, so 0 is fastest.
        split_seed: Seed of the splits, where no column tells them.
        val_share: Share of the samples that validate.
        test_share: Share of the samples that test.

    Raises:
        ValueError: An argument is wrong; on ``check`` and ``setup``, something in the table.
        FileNotFoundError: ``check`` or ``setup`` does not find a file; how they are to lie is said.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        modalities: Mapping[str, Mapping[str, Any]],
        table: str = "samples.csv",
        label: str = "label",
        classes: Sequence[str] | None = None,
        split: str | None = None,
        group: str | None = None,
        id: str | None = None,
        batch_size: int = 64,
        seed: int = 0,
        num_workers: int = 0,
        split_seed: int = 0,
        val_share: float = 0.2,
        test_share: float = 0.2,
    ) -> None:
        super().__init__()
        folder_argument("root", root)
        if not modalities or "label" in modalities:
            raise ValueError(
                "`modalities` must name one or more, none called 'label', but names "
                f"{[*modalities]}"
            )
        self._kinds = {name: kind_of(name, of) for name, of in modalities.items()}
        if not (val_share > 0 and test_share > 0 and val_share + test_share < 1):
            raise ValueError(
                "`val_share` and `test_share` must be above 0 and together below 1, but are "
                f"{val_share} and {test_share}"
            )
        self.root, self.table, self.sources = Path(root), Path(root, table), dict(modalities)
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self._columns = {"label": label, "split": split, "group": group, "id": id}
        self._classes = None if classes is None else tuple(map(str, classes))
        self._shares, self._split_seed = (val_share, test_share), split_seed
        self._rows: Rows | None = None
        self._splits: dict[str, dict[str, Tensor]] = {}

    @property
    def modalities(self) -> tuple[str, ...]:
        """Their names, in the order of ``modalities``."""
        return tuple(self.sources)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels, in the order of their indices."""
        return self._classes or tuple(sorted({*self._cells("label")}))

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Modality -> shape of one sample, after ``setup``."""
        return {m: tuple(self._split("train")[m].shape[1:]) for m in self.sources}

    def check(self) -> None:
        """Read the table, and look whether the files are there, without reading them.

        Raises:
            FileNotFoundError: One is not; how they are to lie is said.
            ValueError: Labels, splits, names or columns of the table are wrong.
        """
        paths = [self.table, *(p for m in self.sources if (p := self._path(m)) is not None)]
        for path in paths:
            if not path.exists():
                raise FileNotFoundError(
                    f"there is no {path}. Expected below root={self.root}:\n{self._layout()}"
                )
        self._no_duplicates()
        self._dealt()
        for modality, of in self.sources.items():
            where = f"modalities.{modality}"
            if self._kinds[modality] == "images":
                image_paths(self._table, self.root / of["images"], of["column"], where)
            for column in of.get("columns", []):
                self._table.column(column, where)
                if column == self._columns["label"]:
                    raise ValueError(f"{where} has column {column!r}, which is the label")

    def setup(self, stage: str | None = None) -> None:
        """Read the files, deal out the samples and standardise the values."""
        if self._splits:
            return
        self.check()
        rows, label = self._dealt().rows, self._labels()
        found = {split: {"label": torch.from_numpy(label[rows[split]])} for split in SPLITS}
        for modality in self.sources:
            for split, values in self._read(modality, rows).items():
                found[split][modality] = values
        self._splits = found

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
        batch_size = self.batch_size if split == "train" else max(self.batch_size, 256)
        return in_memory_loader(self._split(split), batch_size, self.num_workers, shuffle_seed)

    def _split(self, split: str) -> dict[str, Tensor]:
        if split not in self._splits:
            raise RuntimeError("the table is not loaded; call setup() first")
        return self._splits[split]

    @property
    def _table(self) -> Rows:
        if self._rows is None:
            self._rows = read_rows(self.table)
        return self._rows

    def _cells(self, role: str) -> list[str]:
        return self._table.column(str(self._columns[role]), f"`{role}`")

    def _path(self, modality: str) -> Path | None:
        kind = self._kinds[modality]
        return None if kind == "columns" else self.root / self.sources[modality][kind]

    def _layout(self) -> str:
        named = {m: kind for m, kind in self._kinds.items() if kind != "columns"}
        files = "".join(f"\n    {self.sources[m][kind]}   ({m})" for m, kind in named.items())
        return _LAYOUT.format(root=self.root, table=self.table.name, files=files)

    def _no_duplicates(self) -> None:
        first: dict[str, int] = {}
        for row, cell in enumerate(self._cells("id") if self._columns["id"] else []):
            if cell in first:
                what = f"that of line {self._table.lines[first[cell]]} too; remove one of them"
                raise self._table.problem(row, f"id {cell!r} is {what}")
            first[cell] = row

    def _labels(self) -> NDArray[np.int64]:
        names = {name: index for index, name in enumerate(self.class_names)}
        if len(names) < 2:
            raise TableError(f"{self.table}: all labels are {[*names]}; at least two must differ")
        cells = self._cells("label")
        for row, cell in enumerate(cells):
            if cell not in names:
                raise self._table.problem(
                    row, f"label {cell!r} is not among `classes`: {', '.join(names)}"
                )
        return np.array([names[cell] for cell in cells], np.int64)

    def _dealt(self) -> Split:
        label = self._labels()
        groups = np.array(self._cells("group")) if self._columns["group"] else None
        try:
            if self._columns["split"]:
                split = self._given()
                if groups is not None:
                    check_groups(split, groups)
            else:
                split = shared_split(label, groups, *self._shares, self._split_seed)
        except SplitError as error:
            raise TableError(f"{self.table}: {error}") from None
        # A class that only a column keeps from validation or test is the choice of who wrote it.
        for name in ("train",) if self._columns["split"] else SPLITS:
            counts = np.bincount(label[split.rows[name]], minlength=self.num_classes)
            if (counts == 0).any():
                lacking = int(np.argmin(counts))
                raise TableError(
                    f"{self.table}: class {self.class_names[lacking]!r} has no sample in {name}, "
                    f"of {int((label == lacking).sum())} in all; add some or remove the class"
                )
        return split

    def _given(self) -> Split:
        cells = self._cells("split")
        for row, cell in enumerate(cells):
            if cell not in SPLITS:
                what = f"must be one of {', '.join(SPLITS)}, not {cell!r}"
                raise self._table.problem(row, f"{self._columns['split']} {what}")
        rows = {name: np.flatnonzero(np.array(cells) == name) for name in SPLITS}
        for name, of in rows.items():
            if not len(of):
                raise TableError(
                    f"{self.table}: no line has {name} as its {self._columns['split']}; all of "
                    f"{', '.join(SPLITS)} are needed"
                )
        return Split(rows)

    def _read(self, modality: str, rows: Mapping[str, NDArray[np.int64]]) -> dict[str, Tensor]:
        of, kind, where = self.sources[modality], self._kinds[modality], f"modalities.{modality}"
        if kind == "columns":
            values: NDArray[Any] = read_numbers(self._table, of["columns"], where)
        elif kind == "array":
            values = read_array(self._table, self.root / of["array"], of.get("key"))
        else:
            paths = image_paths(self._table, self.root / of["images"], of["column"], where)
            size, mode = of.get("size"), of.get("mode", "RGB")
            values = read_images(self._table, paths, size and (size[0], size[1]), mode)
        parts: dict[str, NDArray[Any]] = {name: values[of_name] for name, of_name in rows.items()}
        over: int | tuple[int, ...] | None = (
            (0, 2, 3) if kind == "images" else 0 if values.ndim == 2 else None
        )
        if of.get("standardise", True):
            parts = _standardised(parts, over)
        elif kind == "images":
            parts = {name: part / np.float32(255) for name, part in parts.items()}
        whole = np.int64 if parts["train"].dtype.kind in "iu" else np.float32
        return {name: torch.from_numpy(part.astype(whole)) for name, part in parts.items()}


def _standardised(
    parts: Mapping[str, NDArray[Any]], over: int | tuple[int, ...] | None
) -> dict[str, NDArray[Any]]:
    """By the mean and standard deviation of the training split over some dimensions."""
    train = parts["train"]
    mean = train.mean(axis=over, keepdims=True, dtype=np.float64)
    deviation = train.std(axis=over, keepdims=True, dtype=np.float64)
    deviation[deviation == 0] = 1  # a feature that is the same for all says nothing
    return {name: (part - mean) / deviation for name, part in parts.items()}
