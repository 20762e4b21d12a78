"""The clips of a raw tree: which there are, where their files lie, and what is already wrong."""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from inforeg_lightning.data.lists import clip_key
from inforeg_lightning.data.splits import CREMAD_CLASSES, KINETICS_SOUNDS_CLASSES, read_list

CREMAD_LAYOUT = """\
  {root}/
    AudioWAV/    1001_DFA_ANG_XX.wav, …   (actor_sentence_emotion_level)
    VideoFlash/  1001_DFA_ANG_XX.flv, …   (or .mp4)"""

KINETICS_SOUNDS_LAYOUT = """\
  {root}/
    <id>_<start>_<end>.mp4, …             with train_list=FILE test_list=FILE, lines like
                                          --4-0ihtnBU_000058_000068,10,4 (name, seconds, class)
  or, without lists,
  {root}/
    playing guitar/<id>_<start>_<end>.mp4, …   a folder for each class; train/ and test/ above it
                                               are taken as the halves"""

_CREMAD_NAME = re.compile(r"(?P<actor>\d{4})_[A-Z]{3}_(?P<emotion>[A-Z]{3})_[A-Z]{2}")
_HALVES = {"train": "train", "test": "test", "val": "test", "validate": "test"}


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


def cremad_sources(
    root: Path, train_list: Path | None = None, test_list: Path | None = None
) -> list[Source]:
    """The clips of CREMA-D, in the order of their names.

    Args:
        root: The folder with ``AudioWAV`` and ``VideoFlash``.
        train_list: Published list of the training half; by default halves are unknown here.
        test_list: The same of the test half.

    Raises:
        LayoutError: The folder is missing or empty, or has another layout.
        SplitError: A list cannot be read.
    """
    audio = _by_name(root / "AudioWAV", (".wav",))
    video = _by_name(root / "VideoFlash", (".flv", ".mp4"))
    if not audio or not video:
        lacking = " and ".join(
            name for name, files in (("AudioWAV", audio), ("VideoFlash", video)) if not files
        )
        raise _layout_error("CREMA-D", CREMAD_LAYOUT, root, f"no clips in {lacking}")
    halves = _halves(train_list, test_list, CREMAD_CLASSES)
    listed = {name: half for half, names in halves.items() for name in names}
    sources = []
    for name in sorted({*audio, *video, *listed}):
        wav = audio.get(name, root / "AudioWAV" / f"{name}.wav")
        pictures = video.get(name, root / "VideoFlash" / f"{name}.flv")
        match = _CREMAD_NAME.fullmatch(name)
        label, actor = -1, ""
        if match and match["emotion"] in CREMAD_CLASSES:
            label, actor = CREMAD_CLASSES.index(match["emotion"]), match["actor"]
        absent = [p.relative_to(root).as_posix() for p in (wav, pictures) if not p.is_file()]
        if absent:
            problem = f"missing: {' and '.join(absent)}"
        elif label < 0:
            problem = "its name is not actor_sentence_emotion_level, as 1001_DFA_ANG_XX"
        else:
            problem = ""
        sources.append(Source(name, label, actor, listed.get(name, ""), wav, pictures, problem))
    return _some_usable(sources, "CREMA-D", CREMAD_LAYOUT, root)


def kinetics_sounds_sources(
    root: Path, train_list: Path | None = None, test_list: Path | None = None
) -> list[Source]:
    """The clips of Kinetics-Sounds, in the order of their names.

    With lists, the clips in them, wherever they lie below ``root``; others are left alone. A list
    may call ``<id>_2`` what the file calls ``<id>_000002_000012``, as the published test list does.
    Without, all clips that lie in a folder named as a class.

    Args:
        root: The folder of the clips.
        train_list: Published list of the training half.
        test_list: The same of the test half.

    Raises:
        LayoutError: The folder is missing or empty, or has another layout.
        SplitError: A list cannot be read.
    """
    files: dict[str, list[Path]] = {}
    clips: dict[tuple[str, int], list[Path]] = {}
    for path in sorted(root.rglob("*.mp4")) if root.is_dir() else ():
        files.setdefault(path.stem, []).append(path)
        clips.setdefault(clip_key(path.stem), []).append(path)
    if not files:
        raise _layout_error("Kinetics-Sounds", KINETICS_SOUNDS_LAYOUT, root, "no .mp4 files")
    halves = _halves(train_list, test_list, KINETICS_SOUNDS_CLASSES)
    if halves:
        wanted = {n: (label, half) for half, names in halves.items() for n, label in names.items()}
    else:
        found = {name: _of_folders(paths[0].relative_to(root)) for name, paths in files.items()}
        wanted = {name: known for name, known in found.items() if known[0] >= 0}
    sources = []
    for name in sorted(wanted):
        paths = files.get(name) or clips.get(clip_key(name), [])
        problem = ""
        if len(paths) != 1:
            problem = "listed, but there is no such .mp4" if not paths else "there more than once"
        path = paths[0] if paths else root / f"{name}.mp4"
        # The id of the video: two clips of one must not be in two splits.
        group, _ = clip_key(name)
        label, half = wanted[name]
        sources.append(Source(name, label, group, half, path, path, problem))
    return _some_usable(sources, "Kinetics-Sounds", KINETICS_SOUNDS_LAYOUT, root)


def digest(sources: Sequence[Source]) -> str:
    """What tells one raw tree from another: names, classes, halves and the sizes of files."""
    seen = hashlib.sha256()
    for source in sources:
        sizes = [
            path.stat().st_size if path.is_file() else -1 for path in (source.audio, source.video)
        ]
        seen.update(repr((*source[:4], source.problem, *sizes)).encode())
    return seen.hexdigest()


FINDERS: Mapping[str, Callable[[Path, Path | None, Path | None], list[Source]]] = {
    "cremad": cremad_sources,
    "kinetics_sounds": kinetics_sounds_sources,
}


def _by_name(folder: Path, suffixes: Sequence[str]) -> dict[str, Path]:
    # Of two files for one clip, the one with the suffix named first.
    paths = chain.from_iterable(sorted(folder.glob(f"*{suffix}")) for suffix in suffixes[::-1])
    return {path.stem: path for path in paths}


def _halves(
    train_list: Path | None, test_list: Path | None, class_names: Sequence[str]
) -> dict[str, dict[str, int]]:
    lists = {"train": train_list, "test": test_list}
    if None in lists.values() and any(lists.values()):
        raise LayoutError("train_list and test_list must be given both or not at all")
    return {half: read_list(path, class_names) for half, path in lists.items() if path is not None}


def _of_folders(path: Path) -> tuple[int, str]:
    """Class and half of a file, by the names of the folders above it."""
    folders = [part.lower().replace("_", " ") for part in path.parts[:-1]]
    labels = [KINETICS_SOUNDS_CLASSES.index(f) for f in folders if f in KINETICS_SOUNDS_CLASSES]
    halves = [_HALVES[folder] for folder in folders if folder in _HALVES]
    return (labels or [-1])[-1], (halves or [""])[0]


def _some_usable(sources: list[Source], data: str, layout: str, root: Path) -> list[Source]:
    if all(source.problem for source in sources):
        what = (
            f"{sources[0].name}: {sources[0].problem}" if sources else "no clip in a class folder"
        )
        raise _layout_error(data, layout, root, f"no clip that can be used ({what})")
    return sources


def _layout_error(data: str, layout: str, root: Path, what: str) -> LayoutError:
    if not root.is_dir():
        what = "there is no such folder"
    elif not any(root.iterdir()):
        what = "the folder is empty"
    return LayoutError(
        f"{root} is not {data} as it is downloaded: {what}; expected\n{layout.format(root=root)}"
    )
