"""Hostile names of files: line breaks, quotes, bytes that are no UTF-8, and all the rest.

Every file is healthy; only its name is not. Each must be stored or rejected, and be counted; the
file with an ordinary name among them must be stored.
"""

import os
import shutil
from pathlib import Path

from attacking.damage import Rng
from attacking.samples import CLIPS, Samples, cremad_names, prepare
from attacking.tally import Tally

DEFAULT = 500
_BATCH = 125
_PIECES = (
    b"\r", b"\n", b"\r\n", b"\t", b"\x0b", b"\x0c", b"\x1b[31m", b"\x00"[:0], b"\x7f", b"\xff",
    b"\xc3\x28", b"\xed\xa0\x80", b"\xf0\x9f\x92\xa9", "é".encode(), "e\u0301".encode(),
    "\u202e".encode(), "\u2028".encode(), "\ufeff".encode(), b'"', b'""', b"'", b",", b";", b"|",
    b"`id`", b"$(id)", b"${x}", b"%s", b"%00", b"{0}", b"\\", b"\\n", b"..", b"~", b"*", b"?",
    b"[a]",
    b"<script>", b"&amp;", b"-", b"--help", b" ", b"  ", b".", b".mp4", b".partial", b"#", b"=1+1",
    b"_000010_000020", b"_2", b"NULL", b"nan", b"x" * 200,
)  # fmt: skip


def attack(count: int, rng: Rng, samples: Samples, work: Path, tally: Tally) -> None:
    """Prepare ``count`` files, half of each data set, in several trees."""
    for number, first in enumerate(range(0, count, _BATCH)):
        folder = work / f"names{first}"
        size = min(_BATCH, count - first)
        if number % 2:
            _cremad(size, rng, samples, folder, tally)
        else:
            _kinetics(size, rng, samples, folder, tally)
        shutil.rmtree(folder, ignore_errors=True)


def _kinetics(count: int, rng: Rng, samples: Samples, work: Path, tally: Tally) -> None:
    raw = work / "raw" / "playing guitar"
    raw.mkdir(parents=True)
    (healthy,) = (samples.kinetics / "playing guitar").iterdir()
    shutil.copyfile(healthy, raw / healthy.name)
    names = _links(raw, count, b".mp4", healthy, rng)
    _prepare_and_count("kinetics_sounds", work, names, [healthy.stem], tally)


def _cremad(count: int, rng: Rng, samples: Samples, work: Path, tally: Tally) -> None:
    shutil.copytree(samples.cremad, work / "raw")
    ordinary = cremad_names(CLIPS)
    names = _links(
        work / "raw" / "AudioWAV", count, b".wav",
        samples.cremad / "AudioWAV" / f"{ordinary[0]}.wav", rng,
    )  # fmt: skip
    for name in names:
        target = os.fsencode(work / "raw" / "VideoFlash") + b"/" + name + b".flv"
        shutil.copyfile(samples.cremad / "VideoFlash" / f"{ordinary[0]}.flv", target)
    _prepare_and_count("cremad", work, names, ordinary, tally)


def _links(folder: Path, count: int, ending: bytes, content: Path, rng: Rng) -> list[bytes]:
    names: set[bytes] = set()
    while len(names) < count:
        pieces = [_PIECES[i] for i in rng.integers(len(_PIECES), size=rng.integers(1, 5)).tolist()]
        name = b"".join([b"a%d" % len(names) if rng.random() < 0.7 else b"", *pieces])
        # A name of dots alone has no ending, as Python and the shell see it; 255 is the most.
        if name.strip(b".") and len(name) + len(ending) <= 255 and name not in names:
            names.add(name)
            shutil.copyfile(content, os.fsencode(folder) + b"/" + name + ending)
    return sorted(names)


def _prepare_and_count(
    data: str, work: Path, names: list[bytes], ordinary: list[str], tally: Tally
) -> None:
    from inforeg_lightning.data.store import Store

    try:
        prepare(data, work / "raw", work / "store")
        store = Store(work / "store")
    except Exception as error:
        tally.add("traceback", f"{data}: the whole run ended: {type(error).__name__}: {error!s}")
        return
    stored, rejected = [str(name) for name in store.names], [name for name, _ in store.rejected]
    if gone := set(ordinary) - set(stored):
        tally.add("lost", f"{data}: healthy clips are not stored: {gone}", len(gone))
    hostile = [name for name in stored if name not in ordinary]
    missing = len(names) - len(hostile) - len(rejected)
    tally.add("survived", data, len(hostile))
    tally.add("refused", data, len(rejected))
    if missing > 0:
        tally.add("lost", f"{data}: {missing} files neither stored nor rejected", missing)
    if missing < 0 or len(set(stored)) < len(stored):
        tally.add("wrong", f"{data}: more clips than files, or a name twice: {stored}")
