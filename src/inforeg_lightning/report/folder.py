"""The files of a run folder: their names and contents, written and read here and nowhere else.

A folder holds ``config.yaml``, ``metrics.csv`` (by Lightning's logger), ``history.json``,
``features.npz``, ``predictions.npz``, ``checkpoints/`` and, once the run has ended,
``result.json``. What is read may
come from anywhere: it is checked before it is used, and whatever is wrong is a
:class:`FolderError` that says what.
"""

import csv
import json
import math
import os
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.report.schema import (
    CHECKPOINTS,
    FolderError,
    check_history,
    check_result,
)

CONFIG, METRICS, HISTORY = "config.yaml", "metrics.csv", "history.json"
FEATURES, PREDICTIONS, RESULT = "features.npz", "predictions.npz", "result.json"
CHECKPOINT_FOLDER = "checkpoints"
OWN_FILES = (CONFIG, "hparams.yaml", METRICS, HISTORY, FEATURES, PREDICTIONS, RESULT)
"""What a run writes beside its checkpoints; everything else in its folder is not its own."""

_MEGABYTE = 2**20
# Many times what the largest runs write; a larger file is not from a run.
_LARGEST = {RESULT: 1, HISTORY: 64, METRICS: 64, FEATURES: 256, PREDICTIONS: 256}
_MOST_FEATURES = 100_000
_LAST_EPOCH = 10**7
_UNREADABLE = (
    *(OSError, ValueError, KeyError, EOFError, OverflowError, MemoryError, NotImplementedError),
    *(zipfile.BadZipFile, zlib.error, RuntimeError),  # the last: an encrypted archive
)
"""What a damaged or hostile archive can raise."""


@dataclass(frozen=True)
class Features:
    """What the encoders make of some samples of the test set, after the last epoch.

    Attributes:
        values: Modality -> features, ``(N, D)``.
        label: True class of each sample, ``(N,)``.
        class_names: Class -> its name.
    """

    values: Mapping[str, NDArray[Any]]
    label: NDArray[Any]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class Predictions:
    """What a run's two checkpoints say of the validation and test sets, for ensembles.

    Attributes:
        log_probabilities: Checkpoint and split, as ``("last", "val")`` -> fused log-probabilities,
            ``(N, C)``.
        label: Split -> true class of each sample, ``(N,)``.
    """

    log_probabilities: Mapping[tuple[str, str], NDArray[Any]]
    label: Mapping[str, NDArray[Any]]


def write_config(folder: Path, text: str) -> None:
    """Write the resolved configuration, which is YAML."""
    _replace(folder / CONFIG, lambda partial: partial.write_text(text, encoding="utf-8"))


def write_history(folder: Path, history: list[dict[str, Any]]) -> None:
    """Write the callback's history, one dict per period."""
    check_history(history)
    write_json(folder / HISTORY, history)


def write_result(folder: Path, result: Mapping[str, Any]) -> None:
    """Write the result, after which the run counts as finished.

    Raises:
        FolderError: ``result`` is not what :func:`read_result` accepts.
    """
    check_result(result)
    write_json(folder / RESULT, result)


def write_features(folder: Path, features: Features) -> None:
    """Write features as float16; those out of its range become its largest number."""
    largest = float(np.finfo(np.float16).max)
    arrays: dict[str, Any] = {
        f"feature_{modality}": values.clip(-largest, largest).astype(np.float16)
        for modality, values in features.values.items()
    }
    arrays |= {"label": features.label, "class_names": np.array([*map(str, features.class_names)])}
    _write_arrays(folder / FEATURES, arrays)


def write_predictions(folder: Path, predictions: Predictions) -> None:
    """Write predictions as float32."""
    arrays: dict[str, Any] = {f"label_{split}": of for split, of in predictions.label.items()}
    for (checkpoint, split), values in predictions.log_probabilities.items():
        arrays[f"{checkpoint}_{split}"] = values.astype(np.float32)
    _write_arrays(folder / PREDICTIONS, arrays)


def read_result(folder: Path) -> dict[str, Any]:
    """The checked content of ``result.json``."""
    if not (folder / RESULT).exists():
        raise FolderError(f"unfinished: it has no {RESULT}")
    result = _read_json(folder / RESULT, dict)
    check_result(result)
    return result  # type: ignore[no-any-return]


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The checked content of ``history.json``; empty where there is none."""
    if not (folder / HISTORY).exists():
        return []
    history = _read_json(folder / HISTORY, list)
    check_history(history)
    return history  # type: ignore[no-any-return]


def read_curves(folder: Path) -> dict[str, dict[int, float]]:
    """Metric -> epoch -> value, of the finite values in ``metrics.csv``."""
    if not (folder / METRICS).exists():
        raise FolderError(f"it has no {METRICS}")
    text = _read_text(folder / METRICS)
    curves: dict[str, dict[int, float]] = {}
    try:
        for row in csv.DictReader(text.splitlines(), strict=True):
            _add_row(row, curves)
    except (csv.Error, ValueError, TypeError, OverflowError) as error:
        raise FolderError(f"{METRICS} is not a table of numbers by epoch ({error})") from None
    return curves


def read_features(folder: Path, modalities: tuple[str, ...]) -> Features | None:
    """The features that the run kept, or ``None`` where it kept none."""
    path = folder / FEATURES
    if not path.exists():
        return None
    arrays = _read_arrays(path, ["label", "class_names"], [f"feature_{m}" for m in modalities])
    found = {m: arrays[f"feature_{m}"] for m in modalities if f"feature_{m}" in arrays}
    label, names = arrays["label"], tuple(map(str, arrays["class_names"]))
    _check_features(found, label, names)
    return Features(found, label, names)


def read_predictions(folder: Path) -> Predictions:
    """The checked predictions of a run.

    Raises:
        FolderError: The run kept none, or they cannot be used.
    """
    if not (folder / PREDICTIONS).exists():
        raise FolderError(f"it has no {PREDICTIONS}; train it anew with rerun=true to have them")
    keys = [(checkpoint, split) for checkpoint in CHECKPOINTS for split in ("val", "test")]
    needed = [*(f"{checkpoint}_{split}" for checkpoint, split in keys), "label_val", "label_test"]
    arrays = _read_arrays(folder / PREDICTIONS, needed)
    values = {key: arrays["_".join(key)] for key in keys}
    label = {split: arrays[f"label_{split}"] for split in ("val", "test")}
    for (checkpoint, split), of in values.items():
        rows = label[split]
        whole = rows.ndim == 1 and rows.dtype.kind in "iu" and of.ndim == 2 and of.dtype.kind == "f"
        if not (whole and len(of) == len(rows) > 0 and not np.isnan(of).any()):
            raise FolderError(f"{PREDICTIONS}: {checkpoint}_{split} does not go with its labels")
        if rows.min() < 0 or rows.max() >= of.shape[1]:
            raise FolderError(f"{PREDICTIONS}: label_{split} is not of {of.shape[1]} classes")
    return Predictions(values, label)


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file that is either whole or not there; numbers that are not finite are null."""
    text = json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    _replace(path, lambda partial: partial.write_text(text, encoding="utf-8"))


def _write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    def write(partial: Path) -> None:
        with partial.open("wb") as file:  # given a name, numpy would append ".npz" to it
            np.savez_compressed(file, **arrays)

    _replace(path, write)


def _read_arrays(
    path: Path, needed: Iterable[str], possible: Iterable[str] = ()
) -> dict[str, NDArray[Any]]:
    _check_file(path)
    try:
        # A bad number on the way to an array would be a warning, which says nothing to a reader.
        with zipfile.ZipFile(path) as archive, np.errstate(all="ignore"):
            whole = sum(member.file_size for member in archive.infolist())
            if whole > 4 * _LARGEST[path.name] * _MEGABYTE:
                raise FolderError(f"{path.name} is larger than any run's ({whole} bytes unpacked)")
            with np.load(path, allow_pickle=False) as file:
                names = [*needed, *(name for name in possible if name in file)]
                return {name: file[name] for name in names}
    except _UNREADABLE as error:
        raise FolderError(f"{path.name} cannot be read ({error})") from None


def _replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Write beside a file and take its place; its bytes are on the disk before its name is."""
    partial = path.with_name(f"{path.name}.partial")
    write(partial)
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    os.replace(partial, path)


def _finite(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _finite(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_finite(value) for value in node]
    return None if isinstance(node, float) and not math.isfinite(node) else node


def _read_json(path: Path, kind: type) -> Any:
    try:
        content = json.loads(_read_text(path))
    except RecursionError:
        raise FolderError(f"{path.name} is nested too deeply to be a run's") from None
    except ValueError as error:
        raise FolderError(f"{path.name} is not valid JSON ({error})") from None
    if not isinstance(content, kind):
        raise FolderError(
            f"{path.name} must hold a {kind.__name__}, and holds a {type(content).__name__}"
        )
    return content


def _read_text(path: Path) -> str:
    _check_file(path)
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise FolderError(f"{path.name} cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise FolderError(f"{path.name} is not UTF-8 text") from None


def _check_file(path: Path) -> None:
    """Refuse what could block or fill the memory: pipes, devices, and files of no run's size."""
    try:
        state = path.stat()
    except OSError as error:
        raise FolderError(f"{path.name} cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(state.st_mode):
        raise FolderError(f"{path.name} is not a regular file")
    if state.st_size > _LARGEST[path.name] * _MEGABYTE:
        raise FolderError(
            f"{path.name} has {state.st_size} bytes; no run writes more than "
            f"{_LARGEST[path.name]} MiB"
        )


def _add_row(row: Mapping[Any, Any], curves: dict[str, dict[int, float]]) -> None:
    if None in row:
        raise ValueError("a row is longer than the head")
    if not row.get("epoch"):
        return
    epoch = int(row["epoch"])
    if not 0 <= epoch <= _LAST_EPOCH:
        raise ValueError(f"epoch {epoch}")
    for name, value in row.items():
        # Lightning spreads an epoch over several rows, each with gaps.
        if value and name not in ("epoch", "step") and math.isfinite(float(value)):
            curves.setdefault(name, {})[epoch] = float(value)


def _check_features(
    values: Mapping[str, NDArray[Any]], label: NDArray[Any], names: tuple[str, ...]
) -> None:
    whole = label.ndim == 1 and label.dtype.kind in "iu" and 0 < len(label) <= _MOST_FEATURES
    if not whole or label.min() < 0 or label.max() >= len(names):
        raise FolderError(f"{FEATURES} has labels that are not indices of its {len(names)} classes")
    for modality, array in values.items():
        if array.ndim != 2 or array.dtype.kind != "f" or len(array) != len(label):
            raise FolderError(
                f"{FEATURES}: feature_{modality} must be floating, of shape ({len(label)}, D), "
                f"and is {array.dtype} of shape {array.shape}"
            )
