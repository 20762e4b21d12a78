"""Files of shards by name: as they lie in a folder, or in a cache to which they are brought.

In either case a file that is handed out has the size that ``shards.json`` says, and the digest too
where it was just brought here, or is small, or where that is asked for.
"""

import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from inforeg_lightning.data.shards._manifest import MARK, TABLES, Entry
from inforeg_lightning.data.shards._url import Remote, Unfit
from inforeg_lightning.data.store.download import default_root
from inforeg_lightning.data.store.files import StoreError
from inforeg_lightning.data.store.regular import open_regular


class Files(Protocol):
    """Files by name.

    Attributes:
        shown: Where they are, for messages.
    """

    shown: str

    def get(self, name: str, thorough: bool = False) -> Path:
        """Where a file can be opened, after its size was checked, and its digest if ``thorough``.

        Raises:
            StoreError: It is missing or damaged, or cannot be brought here.
        """


class Folder:
    """The files of a folder.

    Args:
        folder: The folder, absolute.
        files: Size and digest of each file.
    """

    def __init__(self, folder: Path, files: Mapping[str, Entry]) -> None:
        self.shown, self._folder, self._files = str(folder), folder, files

    def get(self, name: str, thorough: bool = False) -> Path:
        """Where a file lies; see ``Files``."""
        path = self._folder / name
        if found := fault(path, self._files[name], thorough):
            raise StoreError(f"the shards {self.shown} are damaged: {name} {found}")
        return path


class Cache:
    """The files below a URL, each brought to a cache folder when it is first needed.

    Any number of processes may share a cache. What is written there is whole or not there at all,
    and its name says nothing of where it came from.

    Args:
        remote: Where they come from.
        mark: The bytes of ``shards.json``. Other bytes are another folder, so that nothing in a
            cache is ever stale.
        files: Size and digest of each file.
        cache: Folder of the cache; by default in the user's cache folder.
        limit: Bytes that the shards may take; those used longest ago go. By default no limit.

    Attributes:
        folder: Where the files of these shards are kept.

    Raises:
        StoreError: The folder cannot be made.
    """

    def __init__(
        self,
        remote: Remote,
        mark: bytes,
        files: Mapping[str, Entry],
        cache: str | os.PathLike[str] | None = None,
        limit: int | None = None,
    ) -> None:
        self._remote, self._files, self._limit = remote, files, limit
        root = default_root() / "shards" if cache is None else Path(cache)
        self.folder = root.absolute() / hashlib.sha256(mark).hexdigest()[:32]
        self.shown = f"{remote.shown} (cached in {self.folder})"
        with self._speaking_of_the_cache():
            self.folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, thorough: bool = False) -> Path:
        """Where a file lies, once it is here; see ``Files``."""
        path, entry = self.folder / name, self._files[name]
        with self._speaking_of_the_cache():
            while fault(path, entry, thorough):
                with self._locked(path) as file:
                    # Once more: another process may have brought it meanwhile.
                    if file is not None and fault(path, entry, thorough):
                        self._bring(file, path, entry)
                        if self._limit is not None and name not in TABLES:
                            self._trim(path, self._limit)
                        break
            with suppress(FileNotFoundError):
                os.utime(path)  # used now
        return path

    @contextmanager
    def _locked(self, path: Path) -> Iterator[int | None]:
        """A descriptor of the partial file, for one process at a time; ``None``: look again.

        The partial file is gone afterwards, or is the file itself.
        """
        partial = _partial(path)
        # No link is followed: in a cache that several people share, another may have left one.
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            try:
                # Who had the lock before may have moved the file to its name, or deleted it.
                yield descriptor if _is_at(descriptor, partial) else None
            finally:
                if _is_at(descriptor, partial):
                    partial.unlink()
                # Closing is not enough: a loader process that was forked meanwhile has the lock
                # as well, and would wait for itself.
                fcntl.flock(descriptor, fcntl.LOCK_UN)
        finally:
            os.close(descriptor)

    def _bring(self, file: int, path: Path, entry: Entry) -> None:
        free = shutil.disk_usage(self.folder).free
        if entry.size > free:
            raise StoreError(
                f"the cache folder {self.folder} has {free / 1e9:.1f} GB left and {path.name} "
                f"takes {entry.size / 1e9:.1f} GB: give another cache, or a lower cache_gb"
            )

        def take(pieces: Iterator[bytes]) -> None:
            os.ftruncate(file, 0)
            os.lseek(file, 0, os.SEEK_SET)
            digest, size = hashlib.sha256(), 0
            for piece in pieces:
                size += len(piece)
                if size > entry.size:
                    raise Unfit(f"has more than the {entry.size} bytes that {MARK} says")
                _write(file, piece)
                digest.update(piece)
            if size != entry.size:
                raise Unfit(f"has {size} bytes instead of {entry.size}")
            if digest.hexdigest() != entry.sha256:
                raise Unfit(f"has other bytes than {MARK} says: damaged, or changed there since")

        self._remote.bring(path.name, take)
        # First the bytes, then the name: after a power failure it must not have others.
        os.fsync(file)
        _partial(path).replace(path)

    def _trim(self, newest: Path, limit: int) -> None:
        """Delete what was used longest ago; who still needs it downloads it again."""
        files = []
        for name in self._files.keys() - set(TABLES):
            with suppress(FileNotFoundError):  # not here, or another process deletes as well
                status = (self.folder / name).lstat()
                files.append((status.st_mtime_ns, status.st_size, self.folder / name))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= limit or path == newest:
                break
            path.unlink(missing_ok=True)
            total -= size

    @contextmanager
    def _speaking_of_the_cache(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"the cache folder {self.folder} cannot be used: {error.strerror or error}; "
                "free it, or give another cache"
            ) from error


def fault(path: Path, entry: Entry, thorough: bool) -> str | None:
    """What is wrong with a file, in words that follow its name; ``None`` if nothing is."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return "is missing"
    except OSError as error:  # such as a link to itself
        return f"cannot be read ({error.strerror})"
    if not stat.S_ISREG(status.st_mode):
        return "is no regular file"
    if status.st_size != entry.size:
        return f"is of {status.st_size} bytes instead of {entry.size}"
    if thorough:
        try:
            with open(open_regular(path), "rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            return f"cannot be read ({error.strerror or error})"
        if digest != entry.sha256:
            return "has other bytes than were written"
    return None


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.partial")


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _write(descriptor: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(descriptor, left) :]
