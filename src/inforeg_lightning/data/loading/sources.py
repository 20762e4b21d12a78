"""What a modality of a table is read from: columns, an array file, or a file or text per row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.loading.media import LONGEST, file_paths, read_images, read_sounds
from inforeg_lightning.data.loading.rows import (
    Rows,
    TableError,
    place_in,
    read_array,
    read_numbers,
)
from inforeg_lightning.data.loading.text import Vocabulary

Array = NDArray[Any]

KINDS = {
    "columns": {"columns", "standardise"},
    "array": {"array", "key", "standardise"},
    "images": {"images", "column", "size", "mode", "standardise"},
    "sounds": {"sounds", "column", "seconds", "standardise"},
    "text": {"text", "words", "vocabulary"},
}
"""What a modality is read from -> what may be said of it."""
IN_FILES = ("array", "images", "sounds")
_OF_FILES = ("images", "sounds")
WORDS, VOCABULARY, SECONDS = 32, 5000, 5.0
"""The defaults of text and sounds."""


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
    if kind in _OF_FILES and "column" not in of:
        raise ValueError(f"{where} needs `column`, the column that holds the names of the files")
    size = of.get("size")
    if size is not None and not (len(size) == 2 and all(type(n) is int and n > 0 for n in size)):
        raise ValueError(f"{where}: size must be [height, width], but is {size!r}")
    if of.get("mode", "RGB") not in ("RGB", "L"):
        raise ValueError(f"{where}: mode must be RGB or L, but is {of['mode']!r}")
    for name, least in (("words", 1), ("vocabulary", 3)):
        if name in of and not (type(of[name]) is int and of[name] >= least):
            raise ValueError(f"{where}: {name} must be at least {least}, but is {of[name]!r}")
    if not 0.1 <= of.get("seconds", SECONDS) <= LONGEST:
        raise ValueError(f"{where}: seconds must be 0.1 to {LONGEST}, but is {of['seconds']!r}")
    return kind


def check_modality(
    rows: Rows, root: Path, modality: str, of: Mapping[str, Any], gaps: bool
) -> None:
    """Look whether columns and files of a modality are there, without reading the files.

    Raises:
        TableError: One is not, or a cell is empty and ``gaps`` is not set.
    """
    kind, where = kind_of(modality, of), f"modalities.{modality}"
    read = rows.cells if gaps else rows.column
    for column in _columns(of, kind):
        read(column, where)
    if kind in _OF_FILES:
        file_paths(rows, root / of[kind], of["column"], where)


def read_modality(
    rows: Rows, root: Path, modality: str, of: Mapping[str, Any], train: Array, gaps: bool
) -> tuple[Array, Array]:
    """The values of a modality for all rows, standardised over the training rows that have it.

    Args:
        rows: The table.
        root: The folder that paths are relative to.
        modality: Its name.
        of: What it is read from.
        train: The training rows; they alone make mean, deviation and vocabulary.
        gaps: Whether a row may lack it: an empty cell, or NaN in an array.

    Returns:
        Values ``(rows, ...)``, float32 or int64, zeros where a row lacks it; and which rows have
        it, ``(rows,)``, bool.

    Raises:
        TableError: A file or cell cannot be used, or no training row has the modality.
    """
    check_modality(rows, root, modality, of, gaps)
    kind = kind_of(modality, of)
    values, has = _read(rows, root, modality, of, kind, train)
    if not gaps and not has.all():
        row = int(np.argmin(has))
        raise TableError(
            f"{place_in(rows, root / of[kind], row)}: not all its numbers are finite; mend them, "
            "remove the row from both files, or allow samples to lack a modality (`gaps`)"
        )
    if not has[train].any():
        raise TableError(f"{rows.path}: no sample in train has {modality}")
    whole = values.dtype.kind in "iu" and kind in ("array", "text")
    if kind == "text" or (not of.get("standardise", True) and kind != "images"):
        found = values.copy()
    elif of.get("standardise", True):
        found, whole = _standardised(values, has, train, kind), False
    else:
        found = values / np.float32(255)
    found[~has] = 0
    return found.astype(np.int64 if whole else np.float32), has


def _read(
    rows: Rows, root: Path, modality: str, of: Mapping[str, Any], kind: str, train: Array
) -> tuple[Array, Array]:
    """The values as they are, and which rows have them."""
    where = f"modalities.{modality}"
    if kind in _OF_FILES:
        paths = file_paths(rows, root / of[kind], of["column"], where)
        has = np.array([path is not None for path in paths])
        if not has.any():
            raise TableError(f"{rows.path}: no sample has {modality}")
        if kind == "sounds":
            return read_sounds(rows, paths, of.get("seconds", SECONDS)), has
        size = of.get("size")
        return read_images(rows, paths, size and (size[0], size[1]), of.get("mode", "RGB")), has
    if kind == "text":
        texts = rows.cells(of["text"], where)
        vocabulary = Vocabulary([texts[row] for row in train], of.get("vocabulary", VOCABULARY))
        return vocabulary.encode(texts, of.get("words", WORDS)), np.array([*map(bool, texts)])
    values = (
        read_numbers(rows, of["columns"], where)
        if kind == "columns"
        else read_array(rows, root / of["array"], of.get("key"))
    )
    lacks = np.asarray(np.isnan(values.reshape(len(values), -1)).any(axis=1))
    return values, ~lacks


def _columns(of: Mapping[str, Any], kind: str) -> list[str]:
    if kind == "columns":
        return [*of["columns"]]
    return [of["text"]] if kind == "text" else [of["column"]] if kind in _OF_FILES else []


def _standardised(values: Array, has: Array, train: Array, kind: str) -> Array:
    """By mean and deviation over training: of a vector's features, of channels, or of all."""
    over: int | tuple[int, ...] | None = 0 if values.ndim == 2 else None
    if kind in _OF_FILES:
        over = (0, 2, 3)
    known = values[train[has[train]]]
    mean = known.mean(axis=over, keepdims=True, dtype=np.float64)
    deviation = known.std(axis=over, keepdims=True, dtype=np.float64)
    # A feature that is the same for all says nothing; rounding may leave a deviation of 1e-17.
    is_same = known.min(axis=over, keepdims=True) == known.max(axis=over, keepdims=True)
    deviation[is_same | (deviation == 0)] = 1
    return np.asarray((values - mean) / deviation)
