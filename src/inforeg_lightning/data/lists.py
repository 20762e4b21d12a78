"""The published lists: where they are, and how the clips in them are called."""

import hashlib
import logging
import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from inforeg_lightning.data.cached import default_root
from inforeg_lightning.data.splits import SplitError

SOURCE = (
    "https://raw.githubusercontent.com/GeWu-Lab/OGM-GE_CVPR2022/"
    "343dc1d95c9bda88f105c0da8d24f185e0e98b54/"
)
"""The authors' repository at one commit, so that the lists stay what they are."""


class PublishedList(NamedTuple):
    """A list: its path below ``SOURCE``, its checksum and how many clips it has."""

    path: str
    sha256: str
    clips: int


PUBLISHED: Mapping[str, Mapping[str, PublishedList]] = {
    "cremad": {
        "train": PublishedList(
            "data/CREMAD/train.csv",
            "68d0d3fd253830328fc92c68f3cf2e215db8c5b86757ad9c5112d2c76ba68bde",
            6_698,
        ),
        "test": PublishedList(
            "data/CREMAD/test.csv",
            "14866c99301fd56fb4a16f8a7048a8a6372a47069aee9f216443bc718be45f1f",
            744,
        ),
    },
    "kinetics_sounds": {
        "train": PublishedList(
            "data/KineticSound/my_train.txt",
            "e75bb596c30bf839adb3c2dc73b4a4617add66b36c2f416f96ac2e56a251751f",
            14_799,
        ),
        "test": PublishedList(
            "data/KineticSound/my_test.txt",
            "3bb1fee2c9d30919cec6887a3e2fa27b7936cc3f46dff447d85ea21892a80a58",
            2_597,
        ),
    },
}

_log = logging.getLogger(__name__)


def fetch_lists(
    data: str, folder: str | os.PathLike[str] | None = None, source: str = SOURCE
) -> tuple[Path, Path]:
    """The published lists of a data set, fetched unless they are there already.

    Args:
        data: ``"cremad"`` or ``"kinetics_sounds"``.
        folder: Where they are kept; by default ``lists`` in ``inforeg-lightning`` in the user's
            cache folder.
        source: What the paths of the lists are appended to; another for a mirror.

    Returns:
        The files of the training and of the test half.

    Raises:
        SplitError: One cannot be fetched, or is not the file that was published.
    """
    kept = default_root() / "lists" if folder is None else Path(folder)
    train, test = (
        _fetched(PUBLISHED[data][half], source, kept / f"{data}-{half}.csv")
        for half in ("train", "test")
    )
    return train, test


def _fetched(item: PublishedList, source: str, path: Path) -> Path:
    if path.exists() and _checksum(path.read_bytes()) == item.sha256:
        return path
    url = source + item.path
    by_hand = f"put it at {path}, or give data.train_list=FILE data.test_list=FILE"
    _log.info("fetching the list %s", url)
    try:
        with urllib.request.urlopen(url, timeout=30) as response:
            content: bytes = response.read()
    except OSError as error:
        if isinstance(error, urllib.error.HTTPError):
            error.close()  # it is a response too, with its connection
        raise SplitError(
            f"the published list cannot be fetched from {url} ({error}); get it on a machine with "
            f"internet and {by_hand}"
        ) from error
    if (found := _checksum(content)) != item.sha256:
        raise SplitError(
            f"{url} is not the list that was published (SHA-256 {found}, expected {item.sha256}); "
            f"get that one and {by_hand}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(path)
    return path


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def clip_key(name: str) -> tuple[str, int]:
    """What tells a clip from others, however its name is written: its video and its first second.

    Kinetics' files are called ``<id>_000002_000012``, as are the clips of the published training
    list; the test list says ``<id>_2``. A name of neither form is its own video, from second -1.
    """
    match = re.fullmatch(r"(.+)_(\d{6})_\d{6}", name) or re.fullmatch(r"(.+)_(\d{1,5})", name)
    return (match[1], int(match[2])) if match else (name, -1)


def as_stored(listed: Mapping[str, int], names: Iterable[str]) -> dict[str, int]:
    """A list with its clips called as they are in a store; those not there keep their names.

    Args:
        listed: Name -> class.
        names: Names in the store.
    """
    stored = {clip_key(name): name for name in names}
    return {stored.get(clip_key(name), name): label for name, label in listed.items()}
