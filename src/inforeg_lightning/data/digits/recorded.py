"""Where the sources of AV-MNIST lie: MNIST's files and the recordings of spoken digits."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from inforeg_lightning.data.digits.files import Download, read_idx
from inforeg_lightning.data.digits.rendering import Array

LAYOUT = """\
  mnist/train-images-idx3-ubyte.gz   (each also without .gz)
  mnist/train-labels-idx1-ubyte.gz
  mnist/t10k-images-idx3-ubyte.gz
  mnist/t10k-labels-idx1-ubyte.gz
  fsdd/{digit}_{speaker}_{index}.wav (in any folder below fsdd)"""

HALVES = {"train": "train", "test": "t10k"}
"""Half of MNIST -> what its files begin with."""

_MNIST = "https://ossci-datasets.s3.amazonaws.com/mnist/"
_FSDD = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.zip"
_MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}
DOWNLOADS = (
    *(Download(_MNIST + name, f"mnist/{name}", md5) for name, md5 in _MD5.items()),
    # Archives of a tag may be packed anew, so a sum would mean nothing: the recordings are counted
    # when they are read.
    Download(_FSDD, "fsdd/recordings"),
)

Recording = tuple[str, int, int]
"""Speaker, digit and number of a recording."""


def check_layout(root: Path, needed: Iterable[Recording], halves: Iterable[str] = HALVES) -> None:
    """Make sure that the files of MNIST and the recordings are there.

    Args:
        root: Folder of the images and recordings.
        needed: The recordings.
        halves: The halves of MNIST.

    Raises:
        FileNotFoundError: They are not; the message shows the layout.
    """
    for half in halves:
        for kind in ("images-idx3", "labels-idx1"):
            _idx_path(root, f"{HALVES[half]}-{kind}-ubyte")
    find_recordings(root, needed)


def read_mnist(root: Path, half: str) -> tuple[Array, NDArray[np.int64]]:
    """The images of one half, ``(N, H, W)`` in [0, 1], and their labels ``(N,)``.

    Raises:
        FileNotFoundError: A file is not there; the message shows the layout.
        ValueError: A file is no IDX file of bytes, or is truncated, or the two do not fit.
    """
    images = read_idx(_idx_path(root, f"{HALVES[half]}-images-idx3-ubyte"), 3)
    labels = read_idx(_idx_path(root, f"{HALVES[half]}-labels-idx1-ubyte"), 1)
    if len(images) != len(labels):
        raise ValueError(
            f"MNIST's {half} half in {root / 'mnist'} has {len(images)} images, but "
            f"{len(labels)} labels; get both files again"
        )
    return (images / 255).astype(np.float32), labels.astype(np.int64)


def _idx_path(root: Path, name: str) -> Path:
    packed, plain = root / "mnist" / f"{name}.gz", root / "mnist" / name
    if not packed.exists() and not plain.exists():
        raise _missing(root, f"neither {packed} nor {plain} exists")
    return packed if packed.exists() else plain


def find_recordings(root: Path, needed: Iterable[Recording]) -> dict[Recording, Path]:
    """The file, anywhere below ``fsdd``, of every recording that is needed.

    Raises:
        FileNotFoundError: Some are not there; the message shows the layout.
    """
    found = {}
    for path in sorted((root / "fsdd").rglob("*.wav")):
        parts = path.stem.split("_")
        if len(parts) == 3 and parts[0].isdigit() and parts[2].isdigit():
            found[parts[1], int(parts[0]), int(parts[2])] = path
    if not found:
        raise _missing(root, f"{root / 'fsdd'} holds no recordings")
    wanted = sorted(set(needed))
    if lacking := [recording for recording in wanted if recording not in found]:
        speaker, digit, number = lacking[0]
        raise _missing(
            root,
            f"{len(lacking)} of {len(wanted)} recordings are missing, "
            f"{digit}_{speaker}_{number}.wav among them; the speakers there are "
            f"{sorted({name for name, _, _ in found})}",
        )
    return {recording: found[recording] for recording in wanted}


def _missing(root: Path, what: str) -> FileNotFoundError:
    """The error that shows how the folder should look."""
    return FileNotFoundError(
        f"AV-MNIST: {what}. Expected below root={root}:\n{LAYOUT}\n"
        "download=True fetches all of it (30 MB) on a machine with internet"
    )
