"""Cut, missing, emptied, exchanged, linked and foreign files in stores and folders of shards.

A reader must refuse the folder, or give every clip as it was. What stands in a folder beside a
store must never be deleted.
"""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from attacking import damage
from attacking.damage import Rng
from attacking.flips import check_shards, check_store
from attacking.samples import Samples
from attacking.tally import Tally

if TYPE_CHECKING:
    from inforeg_lightning.data.store import Clips

DEFAULT = 500


def attack(count: int, rng: Rng, samples: Samples, work: Path, tally: Tally) -> None:
    """Spoil ``count`` folders by whole files, and read all that is in them."""
    from inforeg_lightning.data.shards import Shards
    from inforeg_lightning.data.store import Store

    work.mkdir(parents=True)
    for number in range(count):
        if number % 2:
            opened, check, healthy = Store, check_store, samples.store
        else:
            opened, check, healthy = Shards, check_shards, samples.shards
        folder = work / "spoilt"
        shutil.copytree(healthy, folder)
        path = folder / str(rng.choice(sorted(os.listdir(folder))))
        way = str(rng.choice(list(_WAYS)))
        _WAYS[way](path, rng)
        what = f"{healthy.name}, {path.name}: {way}"
        with tally.refusing(what):
            clips = opened(folder)
            if damaged := check(folder):
                tally.add("refused", f"{what}: {damaged}")
            elif difference := differ(clips, Store(samples.store)):
                tally.add("wrong", f"{what}: read with {difference}")
            else:
                tally.add("survived", what)
        shutil.rmtree(folder)


def differ(found: "Clips", expected: "Clips") -> str:
    """In what two collections of clips differ; ``""`` where every byte and label is the same."""
    for table in ("names", "labels", "groups", "splits"):
        if getattr(found, table).tolist() != getattr(expected, table).tolist():
            return f"other {table}"
    for row in range(len(expected)):
        frames = list(range(expected.frame_count(row)))
        pairs = zip(found.frames(row, frames), expected.frames(row, frames), strict=True)
        if not np.array_equal(found.audio(row), expected.audio(row)):
            return f"other sound in row {row}"
        if not all(np.array_equal(one, other) for one, other in pairs):
            return f"other frames in row {row}"
    return ""


def _missing(path: Path, rng: Rng) -> None:
    path.unlink()


def _folder(path: Path, rng: Rng) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path, rng: Rng) -> None:
    path.unlink()
    path.symlink_to(str(rng.choice(["/etc/passwd", "/dev/zero", "/nowhere", str(path)])))


def _locked(path: Path, rng: Rng) -> None:
    path.chmod(0)  # root reads it all the same


def _exchanged(path: Path, rng: Rng) -> None:
    other = path.parent / str(rng.choice(sorted(os.listdir(path.parent))))
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def _stranger(path: Path, rng: Rng) -> None:
    (path.parent / str(rng.choice(["x", "shard-999999.tar", "index.csv.partial"]))).write_text("x")


def _content(way: str) -> Callable[[Path, Rng], None]:
    def spoil(path: Path, rng: Rng) -> None:
        path.write_bytes(damage.ANY[way](path.read_bytes(), rng))

    return spoil


_WAYS: dict[str, Callable[[Path, Rng], None]] = {
    "missing": _missing,
    "a folder": _folder,
    "a link": _link,
    "no permission": _locked,
    "exchanged with another": _exchanged,
    "a stranger beside it": _stranger,
    **{way: _content(way) for way in damage.ANY if not way.startswith("flip")},
}
