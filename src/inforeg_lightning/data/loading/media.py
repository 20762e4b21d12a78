"""Files that belong to the rows of a table, one per row: pictures and sounds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.loading.rows import Rows

LONGEST = 10.24
"""Seconds of sound that :func:`read_sounds` can keep."""


def file_paths(rows: Rows, folder: Path, column: str, argument: str) -> list[Path | None]:
    """The file of each row, by its name in a column, relative to a folder.

    Returns:
        ``None`` for a row whose cell is empty.

    Raises:
        TableError: There is no such column, or one of the files is not there.
    """
    paths = [folder / name if name else None for name in rows.cells(column, argument)]
    for row, path in enumerate(paths):
        if path is not None and not path.is_file():
            raise rows.problem(
                row, f"there is no file {path}; {column} must be its name in {folder}"
            )
    return paths


def read_images(
    rows: Rows, paths: Sequence[Path | None], size: tuple[int, int] | None, mode: str
) -> NDArray[np.uint8]:
    """Images, channels first: shape ``(rows, channels, height, width)``; zeros where there is none.

    Args:
        rows: The table.
        paths: The file of each row, at least one of them.
        size: Height and width to which all are resized (bicubic); ``None`` if all have one size.
        mode: ``"RGB"`` or ``"L"`` (grey), to which all are converted.

    Raises:
        TableError: A file is no image, or has another size than the first and there is no ``size``.
    """
    from PIL import Image, ImageOps

    found: NDArray[np.uint8] | None = None
    first = next(path for path in paths if path is not None)
    for row, path in enumerate(paths):
        if path is None:
            continue
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
            found = np.zeros((len(paths), *pixels.shape), np.uint8)
        if pixels.shape != found.shape[1:]:
            raise rows.problem(
                row,
                f"{path} has {_size(pixels)} pixels, but {first} has {_size(found)}; give "
                "`size` ([height, width]), to which all are resized",
            )
        found[row] = pixels
    assert found is not None  # at least one path is
    return found


def read_sounds(rows: Rows, paths: Sequence[Path | None], seconds: float) -> NDArray[np.float32]:
    """Log-mel filter banks, shape ``(rows, 1, 128, 100 · seconds)``; zeros where there is none.

    Any file that FFmpeg decodes; what is longer is cut, what is shorter is silence behind.

    Args:
        rows: The table.
        paths: The file of each row.
        seconds: How much is kept, up to ``LONGEST``.

    Raises:
        TableError: A file cannot be decoded or is shorter than 25 ms.
    """
    from inforeg_lightning.data.prepare.decode import read_sound
    from inforeg_lightning.data.prepare.features import FILTER_BANK_SHAPE, filter_bank

    frames = min(round(100 * seconds), FILTER_BANK_SHAPE[1])
    found = np.zeros((len(paths), 1, FILTER_BANK_SHAPE[0], frames), np.float32)
    for row, path in enumerate(paths):
        if path is None:
            continue
        try:
            found[row, 0] = filter_bank(*read_sound(path))[:, :frames]
        except Exception as error:  # FFmpeg's decoders have errors of many kinds
            raise rows.problem(row, f"{path} cannot be read as sound: {error}") from None
    return found


def _size(pixels: NDArray[np.uint8]) -> str:
    return f"{pixels.shape[-2]} × {pixels.shape[-1]}"
