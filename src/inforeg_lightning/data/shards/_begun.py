"""A folder of shards while it is written: by one process, which deletes only what it wrote."""

import fcntl
import hashlib
import os
import re
import stat
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from inforeg_lightning.data.shards._manifest import MARK, TABLES
from inforeg_lightning.data.store.files import StoreError, replace
from inforeg_lightning.data.store.regular import read_regular

JOURNAL = "unfinished.json"
"""Made in an empty folder before all else: what lies beside it has been written by this package."""

_WORDS = (
    b'{"unfinished": "shards of inforeg-lightning; write_shards deletes what is left of them"}\n'
)
_OWN = re.compile(
    rf"(shard-[0-9]{{6,}}\.tar|{'|'.join(re.escape(name) for name in (*TABLES, MARK))})(\.partial)?"
)


class Begun:
    """A folder that is being written; a context manager.

    If it is left by an exception, what was written is deleted, and the folder too if it was made.

    Args:
        folder: The folder, absolute: new, empty, or left by a process that was killed.

    Raises:
        OSError: It cannot be written (on entering, as the next).
        StoreError: It holds something else, or another process writes there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: list[Path] = []
        self._lock = -1

    def __enter__(self) -> "Begun":
        missing = [path for path in (self.folder, *self.folder.parents) if not path.exists()]
        try:
            for path in reversed(missing):
                path.mkdir(exist_ok=True)
                self._made.append(path)
                _sync_folder(path.parent)
            self._claim()
        except BaseException:
            self._leave()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None and not (self.folder / MARK).exists():
            self._clear()
        (self.folder / JOURNAL).unlink(missing_ok=True)
        self._leave()

    def write(self, name: str, content: bytes) -> None:
        """Write a small file, whole or not at all."""
        replace(self.folder / name, content)

    def written(self, file: Path) -> str:
        """Make sure that a file that was written lasts; its SHA-256."""
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            return hashlib.file_digest(opened, "sha256").hexdigest()

    def finish(self, mark: bytes) -> None:
        """Mark the folder as whole; it lasts from here on."""
        _sync_folder(self.folder)  # no mark before what it speaks of
        replace(self.folder / MARK, mark)
        _sync_folder(self.folder)

    def _claim(self) -> None:
        journal = self.folder / JOURNAL
        while self._lock < 0:
            if not os.path.lexists(journal):
                self._refuse_others(set())
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._lock = os.open(journal, flags, 0o666)
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(f"another process is writing shards to {self.folder}") from None
            if not journal.exists() or not os.path.samestat(os.fstat(self._lock), journal.stat()):
                self._leave_lock()  # of a process that has just ended
        if (self.folder / MARK).exists():
            return
        found = os.pread(self._lock, len(_WORDS) + 1, 0)
        if found not in (_WORDS, b""):
            raise StoreError(
                f"{self.folder} holds an {JOURNAL} of somebody else: give another folder"
            )
        # Empty, if a process was killed before it wrote anything else.
        self._refuse_others({path for path in self.folder.iterdir() if found})
        self._clear()
        os.pwrite(self._lock, _WORDS, 0)
        os.fsync(self._lock)
        _sync_folder(self.folder)

    def _refuse_others(self, allowed: set[Path]) -> None:
        others = sorted(
            path.name
            for path in self.folder.iterdir()
            if path.name != JOURNAL and not (path in allowed and _is_own(path))
        )
        if others:
            raise StoreError(
                f"{self.folder} holds other things ({', '.join(others[:3])}): "
                "give a folder that is new or empty"
            )

    def _clear(self) -> None:
        for path in self.folder.iterdir():
            if _is_own(path):
                path.unlink()

    def _leave_lock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _leave(self) -> None:
        self._leave_lock()
        for path in reversed(self._made):
            with suppress(OSError):  # not empty: it is in use
                path.rmdir()


def forget(folder: Path) -> None:
    """Delete the journal that a process left which was killed after the mark was written."""
    with suppress(OSError):  # gone, or something else that is not ours to delete
        if read_regular(folder / JOURNAL, len(_WORDS)) == _WORDS:
            (folder / JOURNAL).unlink()


def _is_own(path: Path) -> bool:
    return bool(_OWN.fullmatch(path.name)) and stat.S_ISREG(path.lstat().st_mode)


def _sync_folder(folder: Path) -> None:
    """Make sure that the names in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
