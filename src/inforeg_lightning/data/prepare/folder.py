"""The folder of a store that is being prepared: who may write there, and which parts are done."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from inforeg_lightning.data.prepare.merge import check_same
from inforeg_lightning.data.prepare.pool import Job
from inforeg_lightning.data.store.files import StoreError, read_tables

_OWN = {
    "store.json", "index.csv", "offsets.npy", "frames.bin", "audio.bin", "rejected.csv", "parts"
}  # fmt: skip


@contextmanager
def locked(store: Path, shared: bool) -> Iterator[None]:
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
def locked_share(store: Path, number: int, count: int) -> Iterator[None]:
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


def finished(store: Path, jobs: Sequence[Job], settings: Mapping[str, Any]) -> set[Path]:
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
