"""The clips of a raw tree: what is known of each before it is read, and how its files are found."""

import errno
import hashlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from inforeg_lightning.data.store.names import printable


class LayoutError(ValueError):
    """The raw folder is not laid out as the data set is; the message shows how it should be."""


class RawTreeError(RuntimeError):
    """The raw tree cannot be read, which is no fault of a clip."""


class Source(NamedTuple):
    """One clip of a raw tree.

    Attributes:
        name: Unique name.
        label: Class index; -1 if unknown, which is a problem.
        group: Actor, or the video that the clip was cut from.
        split: ``"train"``, ``"test"`` or ``""``.
        audio: Its file.
        video: Its file; the same if sound and pictures are in one.
        problem: Why it cannot be used, as far as that is known without reading; or ``""``.
    """

    name: str
    label: int
    group: str
    split: str
    audio: Path
    video: Path
    problem: str = ""


def files_by_name(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """Find the files of a folder by their name without suffix.

    Args:
        folder: The folder; what lies in folders of it is not looked at.
        suffixes: Suffixes, with their dots. Of two files for one name, the one counts whose suffix
            is named first.

    Raises:
        RawTreeError: The folder is there and cannot be read.
    """
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise unreadable(error) from error
    paths = [folder / name for suffix in suffixes[::-1] for name in names if name.endswith(suffix)]
    return {path.stem: path for path in paths}


def files_below(root: Path, suffix: str) -> list[Path]:
    """Find all files with a suffix, in folders of any depth, in order.

    Raises:
        RawTreeError: A folder cannot be read.
    """

    def stop(error: OSError) -> None:
        raise unreadable(error) from error

    if not root.is_dir():
        return []
    walked = os.walk(root, onerror=stop)
    return sorted(
        Path(folder, name)
        for folder, folders, files in walked
        for name in (*folders, *files)
        if name.endswith(suffix)
    )


def size_of(path: Path) -> int:
    """Return the size of a file in bytes; -1 if there is none of this name, or something else.

    Raises:
        RawTreeError: That cannot be found out.
    """
    try:
        status = os.stat(path)
    except ValueError:  # a null byte, out of a list
        return -1
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG):
            return -1
        raise unreadable(error) from error
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def check_still_there(source: Source) -> None:
    """Make sure that the files of a clip that could not be used can be read to their ends.

    A disk that is unmounted, or a server that goes away, must not look like many broken clips.

    Raises:
        RawTreeError: A file is gone, or reading it fails.
    """
    for path in dict.fromkeys((source.video, source.audio)):
        try:
            with open(path, "rb") as file:
                while file.read(1 << 20):
                    pass
        except PermissionError:
            continue  # a file that is there and is nobody's business is a fault of the clip
        except OSError as error:
            raise unreadable(error) from error


def unreadable(error: OSError) -> RawTreeError:
    """Make the error of a tree that cannot be read."""
    return RawTreeError(
        f"the raw tree can no longer be read ({printable(str(error))}); when it is back, prepare "
        "again with the same arguments, and it goes on where it was"
    )


def digest(sources: Sequence[Source]) -> str:
    """Return what tells one raw tree from another: names, classes, halves and sizes of files."""
    seen = hashlib.sha256()
    for source in sources:
        sizes = [size_of(path) for path in (source.audio, source.video)]
        seen.update(repr((*source[:4], source.problem, *sizes)).encode())
    return seen.hexdigest()


def check_usable(sources: Sequence[Source], title: str, layout: str, root: Path) -> None:
    """Make sure that at least one clip can be used.

    Args:
        sources: The clips that were found.
        title: Name of the data set.
        layout: How its folder should look, with ``{root}`` for the folder.
        root: The folder.

    Raises:
        LayoutError: None can.
    """
    if all(source.problem for source in sources):
        what = (
            f"{sources[0].name}: {sources[0].problem}" if sources else "no clip in a class folder"
        )
        raise layout_error(title, layout, root, f"no clip that can be used ({what})")


def layout_error(title: str, layout: str, root: Path, what: str) -> LayoutError:
    """Make the error that says what is wrong with a folder, and shows how it should look."""
    if not root.is_dir():
        what = "there is no such folder"
    elif not any(root.iterdir()):
        what = "the folder is empty"
    return LayoutError(
        f"{root} is not {title} as it is downloaded: {what}; expected\n{layout.format(root=root)}"
    )
