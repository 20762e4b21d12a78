"""Raw CREMA-D and Kinetics-Sounds to a prepared store: on all cores, resumable, losing no clip.

The clips, in the order of their names, are cut into parts of 32. Workers write parts; a part
stands in ``STORE/parts`` whole or not at all. When all do, they are joined in order. Nothing
depends on the number of workers or on when a run was killed, so the bytes of a store do not
either. Several machines may each write every Nth part (``share``); whoever prepares the whole
thereafter finds all parts done and joins them.
"""

import fcntl
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inforeg_lightning.data.lists import fetch_lists
from inforeg_lightning.data.prepare_clip import RECIPES, Recipe
from inforeg_lightning.data.prepare_merge import check_same, joined, merge
from inforeg_lightning.data.prepare_pool import Job, Pool
from inforeg_lightning.data.prepare_sources import FINDERS, digest
from inforeg_lightning.data.store_files import (
    FRAME_FORMATS,
    StoreError,
    Tables,
    read_tables,
)

PART = 32
"""Clips a part: some seconds of work, which is what a kill can lose for each worker."""

_OWN = {
    "store.json", "index.csv", "offsets.npy", "frames.bin", "audio.bin", "rejected.csv", "parts"
}  # fmt: skip


@dataclass(frozen=True)
class Progress:
    """How far it is.

    Attributes:
        done: Clips that are done, or being done.
        resumed: Of these, clips that were there when it began.
        total: Clips of the raw tree, or of a share of it.
    """

    done: int
    resumed: int
    total: int


@dataclass(frozen=True)
class Prepared:
    """What became of a raw tree.

    Attributes:
        store: The store's folder.
        clips: Clips in it.
        frames: Frames of all clips.
        bytes: Size of its large files.
        rejected: Name and reason of the clips that are not.
        seconds: How long it took; 0 if it was there already.
        share: The share that was prepared, as ``"3/16"``; empty for the whole.
    """

    store: Path
    clips: int
    frames: int
    bytes: int
    rejected: tuple[tuple[str, str], ...]
    seconds: float
    share: str = ""

    def summary(self) -> str:
        """A few lines: counts, size, and the rejected clips by reason."""
        took = f"in {self.seconds:.0f} s" if self.seconds else "there already, nothing to do"
        listed = "" if self.share else f", listed in {self.store / 'rejected.csv'}"
        lines = [
            f"{self.store}: {self.clips} clips, {self.frames} frames, "
            f"{self.bytes / 1e9:.2f} GB, {took}",
            f"  {len(self.rejected)} rejected" + (f"{listed}:" if self.rejected else ""),
        ]
        if self.share:
            lines.insert(
                0, f"share {self.share}; when all are done, the command without share= joins them"
            )
        reasons = Counter(_kind(reason) for _, reason in self.rejected)
        lines += [f"  {count:>6}  {reason}" for reason, count in reasons.most_common()]
        return "\n".join(lines)


def prepare(
    name: str,
    root: str | os.PathLike[str],
    store: str | os.PathLike[str],
    train_list: str | os.PathLike[str] | None = None,
    test_list: str | os.PathLike[str] | None = None,
    frame_format: str | None = None,
    short_side: int = 256,
    workers: int | None = None,
    timeout: float = 300.0,
    download: bool = False,
    share: str | None = None,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Prepared:
    """Prepare a raw data set; go on if it was begun, do nothing if it is done.

    It starts processes: a script must call it under ``if __name__ == "__main__":``.

    Args:
        name: ``"cremad"`` or ``"kinetics_sounds"``.
        root: The raw tree.
        store: Where the store goes.
        train_list: Published list of the training half; optional for CREMA-D, and for
            Kinetics-Sounds if the folders of the clips are named as their classes.
        test_list: The same of the test half.
        frame_format: ``"raw"`` (the default of CREMA-D: read 30 times as fast) or ``"jpeg"`` (that
            of Kinetics-Sounds: 4 to 16 times smaller).
        short_side: Larger frames are reduced to this height or width, in pixels; 256 by default.
        workers: Processes; by default one for each core that this process may use.
        timeout: Seconds after which a single clip is given up.
        download: Fetch the published lists if none are given (``lists.fetch_lists``).
        share: ``"3/16"`` prepares the third of 16 shares and joins nothing: for as many processes
            or machines, on a folder that they have in common or each in its own. Preparing the
            whole thereafter (``None``, the default), where the ``parts`` of all are, joins them.
        watch: Called as it gets on.

    Returns:
        What became of it.

    Raises:
        LayoutError: The raw tree is missing, empty or laid out differently.
        StoreError: The store was made or begun from other clips or with other settings, or
            another process is preparing it.
        WorkerError: A worker failed for another reason than a clip.
        ValueError: An argument is wrong, or a list cannot be read or fetched.
    """
    started = time.monotonic()
    recipe = _recipe(name, frame_format, short_side)
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    path = Path(store).absolute()
    if download and train_list is None and test_list is None:
        train_list, test_list = fetch_lists(name)
    lists = (Path(file) if file else None for file in (train_list, test_list))
    sources = FINDERS[name](Path(root).absolute(), *lists)
    settings = recipe.settings() | {"sources": digest(sources)}
    number, count = (1, 1) if share is None else _share(share)
    with _locked(path, shared=share is not None):
        if (path / "store.json").exists():
            tables = read_tables(path)
            check_same(path, tables.settings, settings)
            shutil.rmtree(path / "parts", ignore_errors=True)
            return _prepared(path, tables, 0.0)
        (path / "parts").mkdir(exist_ok=True)
        every = [
            Job(path / "parts" / f"{first // PART:05d}", sources[first : first + PART])
            for first in range(0, len(sources), PART)
        ]
        jobs = every[number - 1 :: count]
        with _locked_share(path, number, count) if share else nullcontext():
            _write(Pool(recipe, settings, workers, timeout), path, jobs, settings, watch)
            if share:
                return _prepared_share(path, jobs, time.monotonic() - started, share)
        tables = merge([job.folder for job in jobs], path)
        shutil.rmtree(path / "parts")
    return _prepared(path, tables, time.monotonic() - started)


def _write(
    pool: Pool,
    store: Path,
    jobs: Sequence[Job],
    settings: Mapping[str, Any],
    watch: Callable[[Progress], None],
) -> None:
    total = sum(len(job.sources) for job in jobs)
    done = _finished(store, jobs, settings)
    resumed = reached = sum(len(job.sources) for job in jobs if job.folder in done)
    watch(Progress(reached, resumed, total))
    for begun in pool.run([job for job in jobs if job.folder not in done]):
        reached = min(reached + begun, total)
        watch(Progress(reached, resumed, total))


def _recipe(name: str, frame_format: str | None, short_side: int) -> Recipe:
    if name not in RECIPES:
        raise ValueError(f"name must be one of {', '.join(RECIPES)}, got {name!r}")
    if short_side < 1:
        raise ValueError(f"short_side must be at least 1, got {short_side}")
    frame_format = frame_format or RECIPES[name].frame_format
    if frame_format not in FRAME_FORMATS:
        raise ValueError(f"frame_format must be one of {FRAME_FORMATS}, got {frame_format!r}")
    return replace(RECIPES[name], short_side=short_side, frame_format=frame_format)


def _share(written: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", written)
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise ValueError(f"share must be K/N with K from 1 to N, such as 3/16, got {written!r}")
    return number, count


@contextmanager
def _locked(store: Path, shared: bool) -> Iterator[None]:
    """Keep other processes out, but let shares in beside each other."""
    store.mkdir(parents=True, exist_ok=True)
    foreign = {path.name.removesuffix(".partial") for path in store.iterdir()} - _OWN
    if foreign:
        raise StoreError(
            f"{store} holds other things ({', '.join(sorted(foreign)[:3])}): "
            "give a folder that is new or empty"
        )
    descriptor = os.open(store, os.O_RDONLY)
    with _flocked(descriptor, f"{store}", fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
        yield


@contextmanager
def _locked_share(store: Path, number: int, count: int) -> Iterator[None]:
    """Keep out who prepares the same share; other cuts would overlap with this one."""
    others = {path.name.split("-of-")[1] for path in (store / "parts").glob("share.*-of-*")}
    if others - {str(count)}:
        raise StoreError(
            f"{store} was begun in {'/'.join(sorted(others))} shares, not in {count}: give the "
            "same number, or prepare the rest without share="
        )
    # A dot, so that it is not taken for a part.
    lock = store / "parts" / f"share.{number}-of-{count}"
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
    with _flocked(descriptor, f"share {number}/{count} of {store}", fcntl.LOCK_EX):
        yield


@contextmanager
def _flocked(descriptor: int, what: str, kind: int) -> Iterator[None]:
    """Hold a lock; the kernel lets go of it however this process ends."""
    try:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(f"another process is preparing {what}") from None
        yield
    finally:
        os.close(descriptor)


def _finished(store: Path, jobs: Sequence[Job], settings: Mapping[str, Any]) -> set[Path]:
    """The parts that are there; what killed workers left is deleted."""
    done, strangers = set(), []
    wanted = {job.folder for job in jobs}
    for folder in (store / "parts").iterdir():
        if folder.suffix:
            if folder.with_suffix("") in wanted:
                shutil.rmtree(folder, ignore_errors=True)
        elif folder in wanted:
            done.add(folder)
        else:
            strangers.append(folder)
    # One part of the other shares, or of another tree, tells as much as thousands.
    for folder in (*done, *strangers[:1]):
        check_same(store, read_tables(folder, partly_moved=True).settings, settings)
    return done


def _prepared_share(store: Path, jobs: Sequence[Job], seconds: float, share: str) -> Prepared:
    if not jobs:  # more shares than parts
        return Prepared(store, 0, 0, 0, (), seconds, share)
    tables = joined([read_tables(job.folder, partly_moved=True) for job in jobs])
    return replace(_prepared(store, tables, seconds), share=share)


def _prepared(store: Path, tables: Tables, seconds: float) -> Prepared:
    size = sum(tables.sizes().values())
    frames = len(tables.offsets) - 1
    return Prepared(store, len(tables.clips), frames, size, tuple(tables.rejected), seconds)


def _kind(reason: str) -> str:
    """A reason without what differs from clip to clip."""
    head, colon, rest = reason.partition(": ")
    return f"{head}{colon}{rest.split(':')[0]}" if head in ("video", "audio") else head
