"""CREMA-D: six emotions, acted in short sentences before a camera."""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from inforeg_lightning.data.loading.dataset import any_frames
from inforeg_lightning.data.loading.module import StoreDataModule
from inforeg_lightning.data.prepare.features import log_spectrogram
from inforeg_lightning.data.prepare.lists import PublishedList, read_halves
from inforeg_lightning.data.prepare.raw_tree import (
    Source,
    check_usable,
    files_by_name,
    layout_error,
    size_of,
)
from inforeg_lightning.data.prepare.recipe import Recipe

CLASSES = ("NEU", "HAP", "SAD", "FEA", "DIS", "ANG")

_LAYOUT = """\
  {root}/
    AudioWAV/    1001_DFA_ANG_XX.wav, …   (actor_sentence_emotion_level)
    VideoFlash/  1001_DFA_ANG_XX.flv, …   (or .mp4)"""

_NAME = re.compile(r"(?P<actor>\d{4})_[A-Z]{3}_(?P<emotion>[A-Z]{3})_[A-Z]{2}")

# The repository of OGM-GE at one commit, so that the lists stay what they are.
_LISTS = (
    "https://raw.githubusercontent.com/GeWu-Lab/OGM-GE_CVPR2022/"
    "343dc1d95c9bda88f105c0da8d24f185e0e98b54/data/CREMAD/"
)


_VOTES = {"audio": "VoiceVote", "video": "FaceVote", "fused": "MultiModalVote"}
"""Columns of the summary table: what most raters heard, saw, and heard and saw."""


def rater_accuracies(table: Path) -> dict[str, float]:
    """How often the data set's own raters recognise the intended emotion, for reference.

    A clip counts if the emotion most often named is the intended one; a tie does not. Over all
    7,442 clips that is 41.6 % by voice, 66.3 % by face and 72.2 % by both.

    Args:
        table: ``processedResults/summaryTable.csv`` of the data set.

    Returns:
        ``"audio"``, ``"video"``, ``"fused"`` -> share of the clips.

    Raises:
        ValueError: It is another table, or an empty one.
    """
    with table.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    needed = {"FileName", *_VOTES.values()}
    if not rows or not needed <= set(rows[0]):
        found = sorted(filter(None, rows[0])) if rows else "no rows"
        raise ValueError(
            f"{table} is not CREMA-D's summaryTable.csv: it must have the columns "
            f"{', '.join(sorted(needed))}, but has {found}"
        )
    meant = []
    for row in rows:
        match = _NAME.fullmatch(row["FileName"] or "")
        if match is None:
            raise ValueError(f"{table}: {row['FileName']!r} is no name of a clip of CREMA-D")
        meant.append(match["emotion"][0])
    return {
        of: sum(row[column] == letter for row, letter in zip(rows, meant, strict=True)) / len(rows)
        for of, column in _VOTES.items()
    }


@dataclass(frozen=True)
class CREMADRecipe(Recipe):
    """Three frames per second and the log spectrogram of three seconds; see ``Recipe``.

    The class of a clip is in its name; lists are optional, and give the half only.
    """

    data = "cremad"
    title = "CREMA-D"
    frames_per_second = 3
    least_frames = 3  # three frames are drawn from each clip, and no frame twice
    spectrogram = staticmethod(log_spectrogram)
    lists = {  # noqa: RUF012
        "train": PublishedList(
            _LISTS + "train.csv",
            "68d0d3fd253830328fc92c68f3cf2e215db8c5b86757ad9c5112d2c76ba68bde",
            6_698,
        ),
        "test": PublishedList(
            _LISTS + "test.csv",
            "14866c99301fd56fb4a16f8a7048a8a6372a47069aee9f216443bc718be45f1f",
            744,
        ),
    }

    def find(
        self, root: Path, train_list: Path | None = None, test_list: Path | None = None
    ) -> list[Source]:
        """List the clips: all files of both folders, and all that a list names."""
        audio = files_by_name(root / "AudioWAV", (".wav",))
        video = files_by_name(root / "VideoFlash", (".flv", ".mp4"))
        if not audio or not video:
            lacking = " and ".join(
                name for name, files in (("AudioWAV", audio), ("VideoFlash", video)) if not files
            )
            raise layout_error(self.title, _LAYOUT, root, f"no clips in {lacking}")
        halves = read_halves(train_list, test_list, CLASSES)
        listed = {name: half for half, names in halves.items() for name in names}
        sources = []
        for name in sorted({*audio, *video, *listed}):
            wav = audio.get(name, root / "AudioWAV" / f"{name}.wav")
            pictures = video.get(name, root / "VideoFlash" / f"{name}.flv")
            match = _NAME.fullmatch(name)
            label, actor = -1, ""
            if match and match["emotion"] in CLASSES:
                label, actor = CLASSES.index(match["emotion"]), match["actor"]
            files = (("AudioWAV", wav), ("VideoFlash", pictures))
            absent = [f"{folder}/{path.name}" for folder, path in files if size_of(path) < 0]
            problem = ""
            if absent:
                problem = f"missing: {' and '.join(absent)}"
            elif label < 0:
                problem = "its name is not actor_sentence_emotion_level, as 1001_DFA_ANG_XX"
            half = listed.get(name, "")
            sources.append(Source(name, label, actor, half, wav, pictures, problem))
        check_usable(sources, self.title, _LAYOUT, root)
        return sources


class CREMADDataModule(StoreDataModule):
    """CREMA-D from a prepared store: 7,442 clips of 91 actors.

    Audio is ``(B, 1, 257, 188)``, the log spectrogram of the first three seconds. All 91 actors
    stand in both halves of the published lists, so that a network may know a face or a voice;
    ``split="group"`` keeps actors apart. Arguments and the rest: ``StoreDataModule``.
    """

    recipe = CREMADRecipe
    class_names = CLASSES
    shapes = {"audio": (1, 257, 188), "video": (3, 3, 224, 224)}  # noqa: RUF012
    choose = staticmethod(any_frames)
