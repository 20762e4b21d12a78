"""Data of your own: one CSV file, and per modality columns, an array file, or a file per line."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from inforeg_lightning.data.loading.in_memory import SPLITS, Batch, in_memory_loader
from inforeg_lightning.data.loading.rows import Rows, TableError, read_numbers, read_rows
from inforeg_lightning.data.loading.sources import (
    IN_FILES,
    check_modality,
    kind_of,
    read_modality,
)
from inforeg_lightning.data.loading.splits import Split, check_groups, shared_split
from inforeg_lightning.data.prepare.lists import SplitError
from inforeg_lightning.data.store.names import folder_argument

_TASKS = ("classes", "binary", "ordinal", "regression")
_LAYOUT = """\
  {root}/
    {table}   (CSV in UTF-8 with a header; one line per sample){files}"""


class TableDataModule(L.LightningDataModule):
    """A table of samples, one per line, with a label; small data, held in memory.

    Each modality is one of these, with paths relative to ``root``:

    - ``{"columns": ["age", "height"]}``: numbers in columns of the table, shape ``(D,)``.
    - ``{"array": "speech.npy"}``: an array of numbers whose first dimension is the line of the
      table, in the same order; ``"key"`` names one in an ``.npz`` file of several. Anything else
      comes in this form: as embeddings, spectrograms or token indices.
    - ``{"images": "photos", "column": "file", "size": [64, 64]}``: one image file per sample, whose
      name in the folder ``photos`` is in column ``file``, shape ``(3, 64, 64)``. Without ``size``
      all must have one size. ``"mode": "L"`` makes them grey.
    - ``{"sounds": "clips", "column": "file", "seconds": 5}``: one sound file per sample that FFmpeg
      decodes, as Kaldi's log-mel filter bank of its first 5 s (default; up to 10.24), shape
      ``(1, 128, 100 · seconds)``.
    - ``{"text": "caption", "words": 32, "vocabulary": 5000}``: the words in column ``caption`` as
      indices int64 ``(words,)``, 0 for padding and 1 for a word that is not among the most frequent
      ones of the training split; 32 words and 5000 indices by default.

    Values are standardised over the training split: vectors feature by feature, images and sounds
    channel by channel, other arrays as a whole. ``"standardise": False`` leaves a modality as it
    is: arrays of integers are then integers (token indices), images are from 0 to 1. Nothing is
    skipped: whatever cannot be used is an error that names the file, the line and what to do.

    Batches are ``{modality: (B, *shape), "label": int64 (B,)}``. With ``gaps`` a sample may lack a
    modality: an empty cell in one of its columns, or NaN in its row of the array. It is zeros then,
    and batches have ``"present": {modality: bool (B,)}``, which ``LateFusionClassifier`` and the
    callbacks' ``present="present"`` honour.

    Args:
        root: Folder below which the files lie.
        modalities: Modality -> what it is read from.
        table: The CSV file.
        label: Its column of labels; any text, of regression a number.
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
        gaps: Whether a sample may lack a modality; not all.
        task: ``"classes"``, ``"binary"`` or ``"ordinal"``: the labels are classes, of ordinal in
            the order of ``classes``, by default of the numbers that they are; or ``"regression"``:
            the number itself, float32 ``(B,)``.

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
        gaps: bool = False,
        task: str = "classes",
    ) -> None:
        super().__init__()
        folder_argument("root", root)
        if not modalities or {"label", "present"} & {*modalities}:
            raise ValueError(
                "`modalities` must name one or more, none called 'label' or 'present', but names "
                f"{[*modalities]}"
            )
        if task not in _TASKS:
            raise ValueError(f"`task` must be one of {', '.join(_TASKS)}, got {task!r}")
        self._kinds = {name: kind_of(name, of) for name, of in modalities.items()}
        if not (val_share > 0 and test_share > 0 and val_share + test_share < 1):
            raise ValueError(
                "`val_share` and `test_share` must be above 0 and together below 1, but are "
                f"{val_share} and {test_share}"
            )
        self.root, self.table, self.sources = Path(root), Path(root, table), dict(modalities)
        self.batch_size, self.seed, self.num_workers = batch_size, seed, num_workers
        self._columns = {"label": label, "split": split, "group": group, "id": id}
        self.gaps, self.task = gaps, task
        self._classes = None if classes is None else tuple(map(str, classes))
        self._shares, self._split_seed = (val_share, test_share), split_seed
        self._rows: Rows | None = None
        self._splits: dict[str, dict[str, Any]] = {}

    @property
    def modalities(self) -> tuple[str, ...]:
        """Their names, in the order of ``modalities``."""
        return tuple(self.sources)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The labels, in the order of their indices; of regression the name of their column."""
        if self.task == "regression":
            return (str(self._columns["label"]),)
        if self._classes is not None:
            return self._classes
        found = sorted({*self._cells("label")})
        try:
            return tuple(sorted(found, key=float) if self.task == "ordinal" else found)
        except ValueError:
            raise TableError(
                f"{self.table}: task='ordinal' needs `classes`, the labels from the lowest to the "
                f"highest, for they are no numbers: {', '.join(found[:5])}"
            ) from None

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
        label = self._columns["label"]
        for modality, of in self.sources.items():
            if label in of.get("columns", []) or label == of.get("text"):
                raise ValueError(f"modalities.{modality} has column {label!r}, which is the label")
        self._dealt()
        for modality, of in self.sources.items():
            check_modality(self._table, self.root, modality, of, self.gaps)

    def setup(self, stage: str | None = None) -> None:
        """Read the files, deal out the samples and standardise the values."""
        if self._splits:
            return
        self.check()
        rows, label = self._dealt().rows, self._labels()
        read = {
            modality: read_modality(self._table, self.root, modality, of, rows["train"], self.gaps)
            for modality, of in self.sources.items()
        }
        empty = ~np.any([has for _, has in read.values()], axis=0)
        if empty.any():
            raise self._table.problem(int(np.argmax(empty)), "it has no modality; remove the line")
        for split in SPLITS:
            at = rows[split]
            found: dict[str, Any] = {"label": torch.from_numpy(label[at])}
            found |= {m: torch.from_numpy(values[at]) for m, (values, _) in read.items()}
            if self.gaps:
                found["present"] = {m: torch.from_numpy(has[at]) for m, (_, has) in read.items()}
            self._splits[split] = found

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

    def _split(self, split: str) -> dict[str, Any]:
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
        return self.root / self.sources[modality][kind] if kind in IN_FILES else None

    def _layout(self) -> str:
        named = {m: kind for m, kind in self._kinds.items() if kind in IN_FILES}
        files = "".join(f"\n    {self.sources[m][kind]}   ({m})" for m, kind in named.items())
        return _LAYOUT.format(root=self.root, table=self.table.name, files=files)

    def _no_duplicates(self) -> None:
        first: dict[str, int] = {}
        for row, cell in enumerate(self._cells("id") if self._columns["id"] else []):
            if cell in first:
                what = f"that of line {self._table.lines[first[cell]]} too; remove one of them"
                raise self._table.problem(row, f"id {cell!r} is {what}")
            first[cell] = row

    def _labels(self) -> NDArray[Any]:
        """Class indices, or the numbers as float32."""
        if self.task == "regression":
            self._cells("label")  # none is empty
            return read_numbers(self._table, [str(self._columns["label"])], "`label`")[:, 0].astype(
                np.float32
            )
        names = {name: index for index, name in enumerate(self.class_names)}
        if len(names) < 2:
            raise TableError(f"{self.table}: all labels are {[*names]}; at least two must differ")
        if self.task == "binary" and len(names) > 2:
            raise TableError(
                f"{self.table}: task='binary' needs two labels, no and yes, but there are "
                f"{len(names)}: {', '.join([*names][:5])}"
            )
        cells = self._cells("label")
        for row, cell in enumerate(cells):
            if cell not in names:
                raise self._table.problem(
                    row, f"label {cell!r} is not among `classes`: {', '.join(names)}"
                )
        return np.array([names[cell] for cell in cells], np.int64)

    def _dealt(self) -> Split:
        label = self._labels()
        if self.task == "regression":  # there are no classes to be dealt out by
            label = np.zeros(len(label), np.int64)
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
        needed = ("train",) if self._columns["split"] else SPLITS
        for name in () if self.task == "regression" else needed:
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
