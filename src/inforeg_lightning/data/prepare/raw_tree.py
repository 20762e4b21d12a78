"""The clips of a raw tree: what is known of each before it is read, and how its files are found."""

import hashlib
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple


class LayoutError(ValueError):
    """The raw folder is not laid out as the data set is; the message shows how it should be."""


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
    """
    paths = chain.from_iterable(sorted(folder.glob(f"*{suffix}")) for suffix in suffixes[::-1])
    return {path.stem: path for path in paths}


def files_below(root: Path, suffix: str) -> list[Path]:
    """Find all files with a suffix, in folders of any depth, in order."""
    return sorted(root.rglob(f"*{suffix}")) if root.is_dir() else []


def digest(sources: Sequence[Source]) -> str:
    """What tells one raw tree from another: names, classes, halves and the sizes of files."""
    seen = hashlib.sha256()
    for source in sources:
        sizes = [
            path.stat().st_size if path.is_file() else -1 for path in (source.audio, source.video)
        ]
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
    """The error that says what is wrong with a folder, and shows how it should look."""
    if not root.is_dir():
        what = "there is no such folder"
    elif not any(root.iterdir()):
        what = "the folder is empty"
    return LayoutError(
        f"{root} is not {title} as it is downloaded: {what}; expected\n{layout.format(root=root)}"
    )
