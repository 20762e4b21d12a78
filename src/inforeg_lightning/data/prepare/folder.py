"""The folder of a store that is being prepared: who may write there, and which parts are done."""

import fcntl
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from inforeg_lightning.data.prepare.merge import check_same
from inforeg_lightning.data.prepare.pool import Job
from inforeg_lightning.data.store.files import LARGE, TABLES, StoreError, read_tables
from inforeg_lightning.data.store.names import printable

_FILES = {"store.json", *TABLES, *LARGE}
# A part, or what a worker has begun of it, with the number of its process; the lock of a share.
_PART = re.compile(r"\d{5,}(\.\d+)?")
_SHARE = re.compile(r"share\.\d+-of-\d+")


@contextmanager
def locked(store: Path, shared: bool) -> Iterator[None]:
    """Keep other processes out, but let shares in beside each other.

    Raises:
        StoreError: Another process is preparing the store, or the folder holds other things, or it
            cannot be made.
    """
    try:
        store.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(store, os.O_RDONLY)
    except OSError as error:
        raise StoreError(f"the folder {store} cannot be made: {error}") from error
    with _flocked(descriptor, f"{store}", fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
        if foreign := _foreign(store):
            raise StoreError(
                f"{store} holds other things ({', '.join(sorted(foreign)[:3])}): "
                "give a folder that is new or empty"
            )
        yield


def _foreign(store: Path) -> set[str]:
    """What lies there and was not written by a preparation, which might overwrite or delete it."""
    names = {path.name for path in store.iterdir()}
    if not names & {"store.json", "parts"}:
        return names  # nobody has begun here, so that even a frames.bin is somebody else's
    foreign = {name for name in names if name.removesuffix(".partial") not in _FILES | {"parts"}}
    for folder in _entries(store / "parts"):
        if _SHARE.fullmatch(folder.name):
            continue
        if not _PART.fullmatch(folder.name):
            foreign.add(f"parts/{folder.name}")
        files = {path.name for path in _entries(folder)}
        strange = {name for name in files if name.removesuffix(".partial") not in _FILES}
        foreign |= {f"parts/{folder.name}/{name}" for name in strange}
    return set(map(printable, foreign))


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (
        FileNotFoundError,
        NotADirectoryError,
    ):
        return []  # gone meanwhile, as what the worker of another share writes


def remove_parts(store: Path) -> None:
    """Delete the parts of a finished store; what nobody here has written stays."""
    for path in _entries(store / "parts"):
        if _SHARE.fullmatch(path.name):
            path.unlink(missing_ok=True)
        elif _PART.fullmatch(path.name):
            _remove_part(path)
    with suppress(OSError):  # not empty, or not there
        (store / "parts").rmdir()


def _remove_part(folder: Path) -> None:
    for name in _FILES:
        for path in (folder / name, folder / f"{name}.partial"):
            path.unlink(missing_ok=True)
    with suppress(OSError):
        folder.rmdir()


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
            raise StoreError(
                f"another process is preparing {what}: wait for it, or end it and prepare again"
            ) from None
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
                _remove_part(folder)
        elif folder in wanted:
            done.add(folder)
        else:
            strangers.append(folder)
    # One part of the other shares, or of another tree, tells as much as thousands.
    for folder in (*done, *strangers[:1]):
        check_same(store, read_tables(folder, partly_moved=True).settings, settings)
    return done
