"""Samples as the rows of a CSV file: its cells, and arrays that belong to the rows."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        cells = self.cells(name, argument)
        if "" in cells:
            raise self.problem(cells.index(""), f"{name} is empty; fill it in or remove the line")
        return cells

    def cells(self, name: str, argument: str) -> list[str]:
        """The cells of a column, of which some may be empty.

        Raises:
            TableError: There is no such column.
        """
        if name not in self.columns:
            raise TableError(
                f"{self.path}: {argument} names column {name!r}, but the columns are "
                f"{', '.join(self.columns)}"
            )
        return self.columns[name]

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
    """The numbers of some columns, shape ``(rows, columns)``; NaN where a cell is empty.

    Raises:
        TableError: There is no such column, or a cell holds something else.
    """
    found = np.full((len(rows), len(names)), np.nan)
    for place, name in enumerate(names):
        for row, cell in enumerate(rows.cells(name, argument)):
            if not cell:
                continue
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
        TableError: It is no such file, holds objects, or has another number of rows, or a value
            that is infinite. NaN are left to the caller.
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
    infinite = np.isinf(array.reshape(len(array), -1)).any(axis=1)
    if infinite.any():
        row = int(np.argmax(infinite))
        raise TableError(f"{place_in(rows, path, row)}: it has an infinite number; mend it")
    return array[:, None] if array.ndim == 1 else array


def place_in(rows: Rows, path: Path, row: int) -> str:
    """A row of an array, in words."""
    return f"{path}, index {row} (line {rows.lines[row]} of {rows.path.name})"


def _key(path: Path, names: Sequence[str], key: str | None) -> str:
    if key is None and len(names) == 1:
        return names[0]
    if key is None or key not in names:
        asked = "and `key` names none" if key is None else f"and not {key!r}"
        raise TableError(
            f"{path} holds {', '.join(names) or 'no arrays'}, {asked}; give one as `key`"
        )
    return key
