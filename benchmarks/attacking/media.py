"""Hostile media: spoilt, absurd and huge sound and video among healthy clips, through `prepare`.

Each run prepares a tree of spoilt clips with all healthy clips in it. A spoilt clip may be stored,
if what is stored is sound, or rejected by name; a healthy clip must be stored, to the byte.
"""

import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np

from attacking import damage
from attacking.damage import Rng
from attacking.samples import CLIPS, Samples, cremad_names, pcm, prepare, wav_file
from attacking.tally import Tally

if TYPE_CHECKING:
    from inforeg_lightning.data.store import Clips

DEFAULT = 1500
_BATCH = 250
_LARGEST_PROCESS = 2_000_000_000  # bytes; torch alone takes 300 MB of it
_LOUDEST = 60_000.0  # float16 ends at 65,504; a logarithm of sound is below 20


def attack(count: int, rng: Rng, samples: Samples, work: Path, tally: Tally) -> None:
    """Prepare ``count`` hostile clips in several trees."""
    for first in range(0, count, _BATCH):
        _one_tree(min(_BATCH, count - first), rng, samples, work / f"tree{first}", tally)
    largest = 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    if largest > _LARGEST_PROCESS:
        tally.add("wrong", f"a process that prepared clips took {largest / 1e9:.1f} GB", 1)


def _one_tree(count: int, rng: Rng, samples: Samples, work: Path, tally: Tally) -> None:
    from inforeg_lightning.data.store import Store

    shutil.copytree(samples.cremad, work / "raw")
    healthy = cremad_names(CLIPS)
    ways = {}
    for name in cremad_names(count, first=2001):
        donor = str(rng.choice(healthy))
        ways[name] = _write_hostile(work / "raw", name, donor, rng)
    try:
        prepare("cremad", work / "raw", work / "store", timeout=20)
        store = Store(work / "store")
    except Exception as error:
        tally.add("traceback", f"the whole run ended: {type(error).__name__}: {error}")
        return
    rejected = dict(store.rejected)
    rows = {str(name): row for row, name in enumerate(store.names)}
    for name, way in ways.items():
        if name in rows:
            wrong = _what_is_wrong(store, rows[name])
            tally.add("wrong" if wrong else "survived", f"{way}: stored with {wrong}")
        elif rejected.get(name):
            tally.add("refused", f"{way}: {rejected[name]}")
        else:
            tally.add("lost", f"{way}: neither stored nor rejected")
    _compare_healthy(store, rows, Store(samples.store), tally)
    shutil.rmtree(work)


def _compare_healthy(
    store: "Clips", rows: dict[str, int], reference: "Clips", tally: Tally
) -> None:
    for row, name in enumerate(map(str, reference.names)):
        if name not in rows:
            tally.add("lost", f"the healthy clip {name} is not stored: {dict(store.rejected)}")
            continue
        mine, frames = rows[name], list(range(reference.frame_count(row)))
        same = np.array_equal(store.audio(mine), reference.audio(row))
        same &= store.frame_count(mine) == len(frames)
        same = same and all(
            np.array_equal(a, b)
            for a, b in zip(store.frames(mine, frames), reference.frames(row, frames), strict=True)
        )
        if not same:
            tally.add("wrong", f"the healthy clip {name} is stored with other bytes")


def _what_is_wrong(store: "Clips", row: int) -> str:
    sound = np.asarray(store.audio(row), np.float64)
    if not np.isfinite(sound).all():
        return "sound that is not finite"
    if np.abs(sound).max(initial=0) > _LOUDEST:
        return f"sound of up to {np.abs(sound).max()}"
    return "" if store.frame_count(row) >= 3 else f"{store.frame_count(row)} frames"


def _write_hostile(root: Path, name: str, donor: str, rng: Rng) -> str:
    """Write a clip with one or both of its files spoilt, and say how."""
    files = {kind: root / folder / f"{donor}{kind}" for folder, kind in _FOLDERS}
    contents = {kind: path.read_bytes() for kind, path in files.items()}
    target = str(rng.choice([".wav", ".flv"]))
    if rng.random() < 0.25:
        way = str(rng.choice(list(_ABSURD[target])))
        contents[target] = _ABSURD[target][way](contents, rng)
    elif rng.random() < 0.01:
        way, contents[".flv"] = "a huge picture", _huge(root.parent / "huge.flv", rng)
    else:
        way, contents[target] = damage.spoil(contents[target], rng)
    for folder, kind in _FOLDERS:
        (root / folder / f"{name}{kind}").write_bytes(contents[kind])
    return f"{name} ({target}): {way}"


_FOLDERS = (("AudioWAV", ".wav"), ("VideoFlash", ".flv"))
_Ways = dict[str, Callable[[dict[str, bytes], Rng], bytes]]


def _floats(value: float, share: float) -> Callable[[dict[str, bytes], Rng], bytes]:
    def made(contents: dict[str, bytes], rng: Rng) -> bytes:
        samples = 0.1 * rng.standard_normal(20_000).astype("<f4")
        samples[rng.random(len(samples)) < share] = value
        return wav_file(samples.tobytes(), 3, 1, 16_000, 32)

    return made


def _channels(contents: dict[str, bytes], rng: Rng) -> bytes:
    return pcm(0.1 * rng.standard_normal(20_000), 16_000, int(rng.choice([3, 8, 9, 24, 64, 255])))


def _rate(contents: dict[str, bytes], rng: Rng) -> bytes:
    rate = int(rng.choice([0, 1, 2, 100, 384_000, 10_000_000, 2**31 - 1, 2**32 - 1]))
    return wav_file(rng.bytes(60_000), 1, 1, rate, 16)


def _bits(contents: dict[str, bytes], rng: Rng) -> bytes:
    return wav_file(rng.bytes(60_000), int(rng.choice([1, 3, 6, 7, 85, 0xFFFE, 0])), 1, 16_000,
                    int(rng.choice([0, 1, 7, 8, 12, 24, 32, 64, 65_535])))  # fmt: skip


def _huge(path: Path, rng: Rng) -> bytes:
    """A few kilobytes that unfold to hundreds of megabytes."""
    side = int(rng.choice([4000, 6000, 8000]))
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.height = stream.width = side
        stream.pix_fmt = "yuv420p"
        black = av.VideoFrame(side, side, "yuv420p")
        for plane in black.planes:
            plane.update(bytes(plane.buffer_size))
        for number in range(8):
            black.pts = number
            container.mux(stream.encode(black))
        container.mux(stream.encode(None))
    return path.read_bytes()


_TEXT = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
_ABSURD: dict[str, _Ways] = {
    ".wav": {
        "NaN": _floats(np.nan, 0.001),
        "all NaN": _floats(np.nan, 1.0),
        "infinite": _floats(np.inf, 0.001),
        "as loud as a float can be": _floats(3e38, 0.001),
        "loud": _floats(1e30, 1.0),
        "denormal": _floats(1e-40, 1.0),
        "many channels": _channels,
        "absurd rate": _rate,
        "absurd coding": _bits,
        "a video": lambda contents, rng: contents[".flv"],
        "a pointer of Git LFS": lambda contents, rng: _TEXT,
    },
    ".flv": {
        "a sound": lambda contents, rng: contents[".wav"],
        "a page": lambda contents, rng: b"<html><body>404 Not Found</body></html>",
        "a playlist": lambda contents, rng: b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n",
        "a list to join": lambda contents, rng: b"ffconcat version 1.0\nfile /etc/passwd\n",
        "a pointer of Git LFS": lambda contents, rng: _TEXT,
    },
}
