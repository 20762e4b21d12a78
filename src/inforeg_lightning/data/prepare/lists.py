"""Published lists of the two halves of a data set: fetched on request, checked, and read."""

import hashlib
import logging
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from inforeg_lightning.data.store.download import DownloadError, default_root, fetch, write_whole

_log = logging.getLogger(__name__)

_EXAMPLES = 3
_MOST_BYTES = 100_000_000  # of a list; those of a million clips have half of it


class SplitError(ValueError):
    """Lists that cannot be read, contradict each other or leave a split without clips."""


class PublishedList(NamedTuple):
    """A list as its authors publish it.

    Attributes:
        url: Where it is; at a fixed commit, so that it stays what it is.
        sha256: Its checksum.
        clips: How many clips it has.
    """

    url: str
    sha256: str
    clips: int


def fetch_lists(
    data: str,
    lists: Mapping[str, PublishedList],
    folder: str | os.PathLike[str] | None = None,
) -> tuple[Path, Path]:
    """Fetch the published lists of a data set, unless they are there already.

    Args:
        data: Name of the data set, with which the names of the files begin.
        lists: ``"train"`` and ``"test"`` -> the list.
        folder: Where they are kept; by default ``lists`` in ``inforeg-lightning`` in the user's
            cache folder.

    Returns:
        The files of the training and of the test half.

    Raises:
        SplitError: None are published, or one cannot be fetched, or is not what was published.
    """
    if not lists:
        raise SplitError(
            f"no lists of {data} are published, so download=True has nothing to fetch; "
            "give train_list and test_list"
        )
    kept = default_root() / "lists" if folder is None else Path(folder)
    train, test = (_fetched(lists[half], kept / f"{data}-{half}.csv") for half in ("train", "test"))
    return train, test


def _fetched(item: PublishedList, path: Path) -> Path:
    if path.exists() and _checksum(path.read_bytes()) == item.sha256:
        return path
    by_hand = f"put it at {path}, or give train_list and test_list"
    _log.info("fetching the list %s", item.url)
    try:
        content = fetch(item.url, _MOST_BYTES)
    except DownloadError as error:
        raise SplitError(
            f"the published list {error}; get it on a machine with internet and {by_hand}"
        ) from error
    if (found := _checksum(content)) != item.sha256:
        raise SplitError(
            f"{item.url} is not the list that was published (SHA-256 {found}, expected "
            f"{item.sha256}); get that one and {by_hand}"
        )
    write_whole(path, content)
    return path


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read_list(path: str | os.PathLike[str], class_names: Sequence[str]) -> dict[str, int]:
    """Read a published list: one clip per line, its name first and its class last.

    Args:
        path: The file. ``1088_IOM_NEU_XX,NEU`` gives the class by name,
            ``--4-0ihtnBU_000058_000068,10,4`` by number (the seconds between are not needed).
        class_names: Class -> its name.

    Returns:
        Name -> class, in the order of the file.

    Raises:
        SplitError: The file is missing, has no clips, or a line that is neither, or a clip with
            two classes.
    """
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as error:
        raise SplitError(f"the list {path} cannot be read: {error}") from error
    listed: dict[str, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        parts = [part.strip() for part in line.split(",")]
        name, label = parts[0], _label(parts[-1], class_names)
        if label is None or not name or len(parts) == 1:
            raise SplitError(
                f"{path}, line {number}: expected a clip's name, a comma and its class "
                f"({class_names[0]} or a number from 0 to {len(class_names) - 1}), got {line!r}"
            )
        if listed.setdefault(name, label) != label:
            raise SplitError(f"{path}, line {number}: {name} is there before with another class")
    if not listed:
        raise SplitError(f"the list {path} has no clips")
    return listed


def list_arguments(
    train_list: str | os.PathLike[str] | None, test_list: str | os.PathLike[str] | None
) -> tuple[Path, Path] | tuple[None, None]:
    """Return the files that the arguments ``train_list`` and ``test_list`` name.

    Raises:
        SplitError: Only one is given, or one is empty or no path.
    """
    for name, value in (("train_list", train_list), ("test_list", test_list)):
        if value is None or (isinstance(value, str | os.PathLike) and os.fspath(value)):
            continue
        raise SplitError(f"{name} must be a file, or None for none, got {value!r}")
    if train_list is None and test_list is None:
        return None, None
    if train_list is None or test_list is None:
        raise SplitError("train_list and test_list must be given both or not at all")
    return Path(train_list), Path(test_list)


def read_halves(
    train_list: Path | None,
    test_list: Path | None,
    class_names: Sequence[str],
    key: Callable[[str], Hashable] = str,
) -> dict[str, dict[str, int]]:
    """Read the lists of both halves, or nothing where none are given.

    Args:
        train_list: List of the training half, or ``None``.
        test_list: List of the test half, or ``None``.
        class_names: Class -> its name.
        key: What is the same for all names of one clip.

    Returns:
        Half -> name of a clip -> class; empty without lists.

    Raises:
        SplitError: A list cannot be read, or a clip is in both.
    """
    if train_list is None or test_list is None:
        return {}
    train, test = (read_list(path, class_names) for path in (train_list, test_list))
    trained = {key(name) for name in train}
    if leaked := sorted(name for name in test if key(name) in trained):
        raise in_both_lists(leaked)
    return {"train": train, "test": test}


def in_both_lists(names: Sequence[str]) -> SplitError:
    """Make the error of clips that would be trained and tested on."""
    return SplitError(
        f"{len(names)} clips are in the training list and in the test list: {some(names)}; "
        "a clip must be in one of them"
    )


def as_stored(
    listed: Mapping[str, int], names: Iterable[str], key: Callable[[str], Hashable]
) -> dict[str, int]:
    """Give the clips of a list the names that they have in a store.

    Args:
        listed: Name -> class.
        names: Names in the store.
        key: What is the same for all names of one clip.

    Returns:
        Name -> class; clips that are not in the store keep their names.
    """
    stored = {key(name): name for name in names}
    return {stored.get(key(name), name): label for name, label in listed.items()}


def some(names: Sequence[str]) -> str:
    """Join the first few names, for a message."""
    more = ", …" if len(names) > _EXAMPLES else ""
    return ", ".join(names[:_EXAMPLES]) + more


def _label(written: str, class_names: Sequence[str]) -> int | None:
    if written in class_names:
        return class_names.index(written)
    if written.isdecimal() and int(written) < len(class_names):
        return int(written)
    return None
