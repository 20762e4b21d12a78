"""Samples as the rows of a CSV file: its cells, and arrays and images that belong to the rows."""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

KINDS = {
    "columns": {"columns", "standardise"},
    "array": {"array", "key", "standardise"},
    "images": {"images", "column", "size", "mode", "standardise"},
}
"""What a modality is read from -> what may be said of it."""


class TableError(ValueError):
    """A table, or a file that belongs to it, cannot be used: which one, where, and what to do."""


@dataclass(frozen=True)
class Rows:
    """The rows of a CSV file.

    Attributes:
        path: The file.
        columns: Column -> its cells, without the spaces around them.
        lines: The line of the file in which each row ends; that of the header is 1.
    """

    path: Path
    columns: dict[str, list[str]]
    lines: list[int]

    def __len__(self) -> int:
        return len(self.lines)

    def column(self, name: str, argument: str) -> list[str]:
        """The cells of a column.

        Args:
            name: Of the column.
            argument: What named it, for the message.

        Raises:
            TableError: There is no such column, or a cell of it is empty.
        """
        if name not in self.columns:
            raise TableError(
                f"{self.path}: {argument} names column {name!r}, but the columns are "
                f"{', '.join(self.columns)}"
            )
        cells = self.columns[name]
        if "" in cells:
            raise self.problem(cells.index(""), f"{name} is empty; fill it in or remove the line")
        return cells

    def problem(self, row: int, what: str) -> TableError:
        """The error for something in a row."""
        return TableError(f"{self.path}, line {self.lines[row]}: {what}")


def read_rows(path: Path) -> Rows:
    """Read a CSV file in UTF-8 whose first line names the columns.

    Raises:
        TableError: It is no such file, has no rows or two columns of one name, or a row has another
            number of cells than the header.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if len(set(header)) < len(header) or "" in header:
                raise TableError(
                    f"{path}, line 1: every column must have a name of its own, but they are "
                    f"{header}"
                )
            cells: list[list[str]] = []
            lines: list[int] = []
            for row in reader:
                if not row:  # the empty line at the end of many files
                    continue
                if len(row) != len(header):
                    raise TableError(
                        f"{path}, line {reader.line_num}: {len(row)} cells, but the header names "
                        f"{len(header)} columns; put a cell that holds a comma into quotes"
                    )
                cells.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"{path} cannot be read as a CSV file in UTF-8: {error}") from None
    if not cells:
        raise TableError(f"{path} has no rows below a line that names the columns")
    columns = [list(column) for column in zip(*cells, strict=True)]
    return Rows(path, dict(zip(header, columns, strict=True)), lines)


def read_numbers(rows: Rows, names: Sequence[str], argument: str) -> NDArray[np.float64]:
    """The numbers of some columns, shape ``(rows, columns)``.

    Raises:
        TableError: There is no such column, or a cell is no finite number.
    """
    found = np.empty((len(rows), len(names)))
    for place, name in enumerate(names):
        for row, cell in enumerate(rows.column(name, argument)):
            try:
                found[row, place] = float(cell)
            except ValueError:
                found[row, place] = np.nan
            if not np.isfinite(found[row, place]):
                raise rows.problem(row, f"{name} must be a finite number, but is {cell!r}")
    return found


def read_array(rows: Rows, path: Path, key: str | None) -> NDArray[Any]:
    """An array whose first dimension is the row of the table, in the same order.

    Args:
        rows: The table.
        path: A ``.npy`` or ``.npz`` file.
        key: The name of the array in an ``.npz`` of several.

    Raises:
        TableError: It is no such file, holds objects, or has another number of rows or a value
            that is not finite.
    """
    try:
        # Never a pickle: reading one runs the code in it.
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.lib.npyio.NpzFile):
            with loaded:
                array = loaded[_key(path, loaded.files, key)]
        elif key is not None:
            raise TableError(f"{path} holds one array, so that `key` ({key!r}) must be left out")
        else:
            array = loaded
    except TableError:
        raise
    except ValueError as error:
        if "allow_pickle" not in str(error):
            raise TableError(f"{path} cannot be read: {error}") from None
        raise TableError(
            f"{path} holds Python objects, as an array of rows of different lengths does, or is no "
            "file of NumPy's; pad the rows to one shape and save numbers with numpy.save"
        ) from None
    except Exception as error:  # a broken zip has errors of many kinds
        raise TableError(f"{path} cannot be read: {error}") from None
    if array.dtype.kind not in "fiub":
        raise TableError(f"{path} must hold numbers, but holds {array.dtype}")
    if array.ndim < 1 or len(array) != len(rows):
        raise TableError(
            f"{path} has shape {array.shape}, but {rows.path} has {len(rows)} rows: the first "
            "dimension must be the row, in the same order"
        )
    finite = np.isfinite(array.reshape(len(array), -1)).all(axis=1)
    if not finite.all():
        row = int(np.argmin(finite))
        raise TableError(
            f"{path}, index {row} (line {rows.lines[row]} of {rows.path.name}): not all its "
            "numbers are finite; mend them or remove the row from both files"
        )
    return array[:, None] if array.ndim == 1 else array


def _key(path: Path, names: Sequence[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key is None or key not in names:
        asked = "and `key` names none" if key is None else f"and not {key!r}"
        raise TableError(
            f"{path} holds {', '.join(names) or 'no arrays'}, {asked}; give one as `key`"
        )
    return key


def image_paths(rows: Rows, folder: Path, column: str, argument: str) -> list[Path]:
    """The file of each row, by its name in a column, relative to a folder.

    Raises:
        TableError: There is no such column, or one of the files is not there.
    """
    paths = [folder / name for name in rows.column(column, argument)]
    for row, path in enumerate(paths):
        if not path.is_file():
            raise rows.problem(
                row, f"there is no file {path}; {column} must be its name in {folder}"
            )
    return paths


def read_images(
    rows: Rows, paths: Sequence[Path], size: tuple[int, int] | None, mode: str
) -> NDArray[np.uint8]:
    """Images, channels first: shape ``(rows, channels, height, width)``.

    Args:
        rows: The table.
        paths: The file of each row.
        size: Height and width to which all are resized (bicubic); ``None`` if all have one size.
        mode: ``"RGB"`` or ``"L"`` (grey), to which all are converted.

    Raises:
        TableError: A file is no image, or has another size than the first and there is no ``size``.
    """
    from PIL import Image, ImageOps

    found: NDArray[np.uint8] | None = None
    for row, path in enumerate(paths):
        try:
            with Image.open(path) as file:
                # A telephone writes beside the pixels how they are to be turned.
                image = ImageOps.exif_transpose(file).convert(mode)
            if size is not None and image.size != size[::-1]:
                image = image.resize(size[::-1], Image.Resampling.BICUBIC)
            pixels = np.asarray(image)
        except Exception as error:  # Pillow's decoders have errors of many kinds
            raise rows.problem(row, f"{path} cannot be read as an image: {error}") from None
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if found is None:
            found = np.empty((len(paths), *pixels.shape), np.uint8)
        if pixels.shape != found.shape[1:]:
            raise rows.problem(
                row,
                f"{path} has {_size(pixels)} pixels, but {paths[0]} has {_size(found)}; give "
                "`size` ([height, width]), to which all are resized",
            )
        found[row] = pixels
    assert found is not None
    return found


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[-2]} × {pixels.shape[-1]}"


def kind_of(modality: str, of: Mapping[str, Any]) -> str:
    """What a modality is read from, after a check of all that is said of it.

    Raises:
        ValueError: Something of it is wrong.
    """
    where = f"`modalities`: {modality}"
    kinds = [kind for kind in KINDS if kind in of]
    if len(kinds) != 1:
        raise ValueError(f"{where} must have one of {', '.join(KINDS)}, but has {[*of]}")
    (kind,) = kinds
    if unknown := sorted({*of} - KINDS[kind]):
        raise ValueError(
            f"{where} has {unknown[0]!r}, but {kind} take {', '.join(sorted(KINDS[kind]))}"
        )
    if kind == "columns" and (isinstance(of[kind], str) or not of[kind]):
        raise ValueError(f"{where}: columns must be a list of names, but is {of[kind]!r}")
    if kind == "images":
        size = of.get("size")
        if "column" not in of:
            raise ValueError(
                f"{where} needs `column`, the column that holds the names of the files"
            )
        if size is not None and not (
            len(size) == 2 and all(type(n) is int and n > 0 for n in size)
        ):
            raise ValueError(f"{where}: size must be [height, width], but is {size!r}")
        if of.get("mode", "RGB") not in ("RGB", "L"):
            raise ValueError(f"{where}: mode must be RGB or L, but is {of['mode']!r}")
    return kind
