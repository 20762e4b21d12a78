"""Features of utterances: a CSV file per utterance and modality, and a table of all utterances.

The table is ``label.csv`` as MMSA distributes it beside the raw clips: ``video_id``, ``clip_id``,
``label`` and ``mode`` (train, valid or test), whatever its other columns. A feature file has a line
per frame and a column per feature; a first line that is no numbers names the columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.loading.rows import Rows, TableError, read_numbers, read_rows

TABLE = "label.csv"
_COLUMNS = ("video_id", "clip_id", "label", "mode")


@dataclass(frozen=True)
class Utterances:
    """The utterances of one split.

    Attributes:
        features: Modality -> float32 ``(N, T, D)``, of its own ``T``, padded behind with zeros.
        present: Modality -> which utterances have it, ``(N,)``, bool.
        label: float64 ``(N,)``.
    """

    features: Mapping[str, NDArray[np.float32]]
    present: Mapping[str, NDArray[np.bool_]]
    label: NDArray[np.float64]


def read_utterances(
    root: Path, modalities: Sequence[str], max_frames: int | None, gaps: bool
) -> dict[str, Utterances]:
    """Read the table and all feature files.

    Args:
        root: The folder of ``label.csv``, and of a folder per modality with the files
            ``<video_id>/<clip_id>.csv`` or ``<video_id>_<clip_id>.csv``.
        modalities: Their names, those of the folders.
        max_frames: At most this many frames of each are kept, the first; ``None`` for all.
        gaps: Whether an utterance may lack a file; one that lacks all may not.

    Returns:
        ``"train"``, ``"valid"`` and ``"test"`` -> its utterances.

    Raises:
        TableError: The table or a file cannot be used: which one, where, and what to do.
    """
    rows = read_rows(root / TABLE)
    for column in _COLUMNS:
        rows.column(column, TABLE)
    mode = rows.columns["mode"]
    if wrong := [i for i, cell in enumerate(mode) if cell not in ("train", "valid", "test")]:
        raise rows.problem(wrong[0], f"mode must be train, valid or test, not {mode[wrong[0]]!r}")
    label = read_numbers(rows, ["label"], TABLE)[:, 0]
    found = {m: [_frames(root, rows, row, m, gaps) for row in range(len(rows))] for m in modalities}
    for row in range(len(rows)):
        if all(found[m][row] is None for m in modalities):
            raise rows.problem(row, f"it has no file in {', '.join(modalities)}; remove the line")
    splits = {}
    for split in ("train", "valid", "test"):
        chosen = [row for row, cell in enumerate(mode) if cell == split]
        if not chosen:
            raise TableError(f"{rows.path}: no line has {split} as its mode; all three are needed")
        splits[split] = Utterances(
            {m: _padded(root / m, of, chosen, max_frames) for m, of in found.items()},
            {m: np.array([of[row] is not None for row in chosen]) for m, of in found.items()},
            label[chosen],
        )
    return splits


def _frames(
    root: Path, rows: Rows, row: int, modality: str, gaps: bool
) -> NDArray[np.float32] | None:
    video, clip = (rows.columns[column][row] for column in ("video_id", "clip_id"))
    paths = [root / modality / video / f"{clip}.csv", root / modality / f"{video}_{clip}.csv"]
    path = next((path for path in paths if path.is_file()), None)
    if path is None:
        if gaps:
            return None
        raise rows.problem(
            row,
            f"there is neither {paths[0]} nor {paths[1]}; with gaps=True an utterance may lack "
            "a modality",
        )
    try:
        with path.open(encoding="utf-8-sig") as file:
            lines = [line for line in file.read().splitlines() if line.strip()]
        if lines and not _is_numbers(lines[0]):
            lines = lines[1:]
        values = np.array([[float(x) for x in line.split(",")] for line in lines], np.float32)
    except (OSError, ValueError) as error:
        what = "must be a CSV file of numbers, a line per frame"
        raise TableError(f"{path} {what}: {error}") from None
    if values.ndim != 2:
        raise TableError(f"{path} has no frames")
    # As in MultiBench: what a tool could not measure is 0.
    values[~np.isfinite(values)] = 0
    return values


def _is_numbers(line: str) -> bool:
    try:
        [float(cell) for cell in line.split(",")]
    except ValueError:
        return False
    return True


def _padded(
    folder: Path,
    found: Sequence[NDArray[np.float32] | None],
    chosen: Sequence[int],
    max_frames: int | None,
) -> NDArray[np.float32]:
    """The chosen sequences, as long as the longest of all: splits must not differ in shape."""
    there = [values for values in found if values is not None]
    widths = {values.shape[1] for values in there}
    if len(widths) != 1:
        raise TableError(
            f"{folder} must have files of one number of columns, but has {sorted(widths) or 'none'}"
        )
    longest = max(len(values) for values in there)
    frames = min(longest, max_frames or longest)
    whole = np.zeros((len(chosen), frames, widths.pop()), np.float32)
    for place, row in enumerate(chosen):
        values = found[row]
        if values is not None:
            whole[place, : len(values)] = values[:frames]
    return whole
