"""Kinetics-Sounds: 31 actions that can be seen and heard."""

import re
from dataclasses import dataclass
from pathlib import Path

from inforeg_lightning.data.loading.dataset import segment_frames
from inforeg_lightning.data.loading.module import StoreDataModule
from inforeg_lightning.data.prepare.features import filter_bank
from inforeg_lightning.data.prepare.lists import PublishedList, read_halves
from inforeg_lightning.data.prepare.raw_tree import (
    Source,
    check_usable,
    files_below,
    layout_error,
    size_of,
)
from inforeg_lightning.data.prepare.recipe import Recipe

CLASSES = (
    "blowing nose", "blowing out candles", "bowling", "chopping wood", "dribbling basketball",
    "laughing", "mowing lawn", "playing accordion", "playing bagpipes", "playing bass guitar",
    "playing clarinet", "playing drums", "playing guitar", "playing harmonica",
    "playing keyboard", "playing organ", "playing piano", "playing saxophone", "playing trombone",
    "playing trumpet", "playing violin", "playing xylophone", "ripping paper", "shoveling snow",
    "shuffling cards", "singing", "stomping grapes", "tap dancing", "tapping guitar",
    "tapping pen", "tickling",
)  # fmt: skip

_LAYOUT = """\
  {root}/
    <id>_<start>_<end>.mp4, …             with train_list and test_list, files of lines like
                                          --4-0ihtnBU_000058_000068,10,4 (name, seconds, class)
  or, without lists,
  {root}/
    playing guitar/<id>_<start>_<end>.mp4, …   a folder for each class; train/ and test/ above it
                                               are taken as the halves"""

_HALVES = {"train": "train", "test": "test", "val": "test", "validate": "test"}

# The repository of OGM-GE at one commit, so that the lists stay what they are.
_LISTS = (
    "https://raw.githubusercontent.com/GeWu-Lab/OGM-GE_CVPR2022/"
    "343dc1d95c9bda88f105c0da8d24f185e0e98b54/data/KineticSound/"
)


def clip_key(name: str) -> tuple[str, int]:
    """What tells a clip from others, however its name is written: its video and its first second.

    Kinetics' files are called ``<id>_000002_000012``, as are the clips of the published training
    list; the test list says ``<id>_2``. A name of neither form is its own video, from second -1.
    """
    match = re.fullmatch(r"(.+)_(\d{6})_\d{6}", name) or re.fullmatch(r"(.+)_(\d{1,5})", name)
    return (match[1], int(match[2])) if match else (name, -1)


@dataclass(frozen=True)
class KineticsSoundsRecipe(Recipe):
    """One frame per second and Kaldi's filter bank of ten seconds; see ``Recipe``.

    With lists, the clips in them, wherever they lie below ``root``; others are left alone. A list
    may call ``<id>_2`` what the file calls ``<id>_000002_000012``, as the published test list does.
    Without lists, all clips that lie in a folder named as a class.
    """

    frame_format: str = "jpeg"  # raw would be 50 GB

    data = "kinetics_sounds"
    title = "Kinetics-Sounds"
    frames_per_second = 1
    least_frames = 4  # as published, clips with 3 frames or fewer are dropped
    spectrogram = staticmethod(filter_bank)
    lists = {  # noqa: RUF012
        "train": PublishedList(
            _LISTS + "my_train.txt",
            "e75bb596c30bf839adb3c2dc73b4a4617add66b36c2f416f96ac2e56a251751f",
            14_799,
        ),
        "test": PublishedList(
            _LISTS + "my_test.txt",
            "3bb1fee2c9d30919cec6887a3e2fa27b7936cc3f46dff447d85ea21892a80a58",
            2_597,
        ),
    }

    def find(
        self, root: Path, train_list: Path | None = None, test_list: Path | None = None
    ) -> list[Source]:
        """List the clips of the lists, or those in folders named as classes."""
        files: dict[str, list[Path]] = {}
        clips: dict[tuple[str, int], list[Path]] = {}
        for path in files_below(root, ".mp4"):
            files.setdefault(path.stem, []).append(path)
            clips.setdefault(clip_key(path.stem), []).append(path)
        if not files:
            raise layout_error(self.title, _LAYOUT, root, "no .mp4 files")
        halves = read_halves(train_list, test_list, CLASSES, clip_key)
        if halves:
            wanted = {n: (label, half) for half, of in halves.items() for n, label in of.items()}
        else:
            found = {name: _of_folders(paths[0].relative_to(root)) for name, paths in files.items()}
            wanted = {name: known for name, known in found.items() if known[0] >= 0}
        sources = []
        for name in sorted(wanted):
            paths = files.get(name) or clips.get(clip_key(name), [])
            problem = ""
            if len(paths) != 1:
                problem = "there more than once" if paths else "listed, but there is no such .mp4"
            path = paths[0] if paths else root / f"{name}.mp4"
            if not problem and size_of(path) < 0:
                problem = "no file, or a link to none"
            # The id of the video: two clips of one must not be in two splits.
            group, _ = clip_key(name)
            label, half = wanted[name]
            sources.append(Source(name, label, group, half, path, path, problem))
        check_usable(sources, self.title, _LAYOUT, root)
        return sources


def _of_folders(path: Path) -> tuple[int, str]:
    """Class and half of a file, by the names of the folders above it."""
    folders = [part.lower().replace("_", " ") for part in path.parts[:-1]]
    labels = [CLASSES.index(folder) for folder in folders if folder in CLASSES]
    halves = [_HALVES[folder] for folder in folders if folder in _HALVES]
    return (labels or [-1])[-1], (halves or [""])[0]


class KineticsSoundsDataModule(StoreDataModule):
    """Kinetics-Sounds from a prepared store: 31 classes of clips of ten seconds.

    Audio is ``(B, 1, 1024, 128)``, Kaldi filter banks with time first, as the published loader
    has them. Clips with 3 frames or fewer, at one per second, are dropped and counted.
    ``split="group"`` keeps clips of one source video together. Arguments and the rest:
    ``StoreDataModule``.
    """

    recipe = KineticsSoundsRecipe
    class_names = CLASSES
    shapes = {"audio": (1, 1024, 128), "video": (3, 3, 224, 224)}  # noqa: RUF012
    least_frames = 4
    choose = staticmethod(segment_frames)
    clip_key = staticmethod(clip_key)
    time_first = True
