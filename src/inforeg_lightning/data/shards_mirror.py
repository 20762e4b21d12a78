"""Files of a folder or below a URL: as they lie there, or in a cache that they are brought to."""

import fcntl
import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from inforeg_lightning.data.store.download import default_root
from inforeg_lightning.data.store.files import StoreError


class Mirror:
    """Files by name; those below a URL are downloaded when they are first needed.

    Any number of processes may share a cache. What is written there is whole or not there at all.

    Args:
        place: Folder or URL.
        mark: Name of the file by whose content one state of the place is told from another.
        cache: Folder for what comes from a URL; by default in the user's cache folder.
        cache_gb: Most that files with a given size may take there, in units of 10⁹ bytes; those
            used longest ago go. By default no limit.

    Attributes:
        place: The folder, absolute, or the URL.
        remote: Whether it is a URL.
        mark: Content of the file of that name.

    Raises:
        StoreError: ``mark`` is not there.
        ValueError: ``cache_gb`` is not above 0.
    """

    def __init__(
        self,
        place: str | os.PathLike[str],
        mark: str,
        cache: str | os.PathLike[str] | None = None,
        cache_gb: float | None = None,
    ) -> None:
        if cache_gb is not None and not cache_gb > 0:
            raise ValueError(f"cache_gb must be above 0, got {cache_gb}")
        self.remote = is_url(place)
        self.place = os.fspath(place).rstrip("/") if self.remote else str(Path(place).absolute())
        self.limit = None if cache_gb is None else round(cache_gb * 1e9)
        self.folder = Path(self.place)
        self.mark = self._read(mark)
        if self.remote:
            root = default_root() / "shards" if cache is None else Path(cache)
            # Another state of the place is another folder: nothing in a cache is ever stale.
            digest = hashlib.sha256(self.place.encode() + b"\0" + self.mark).hexdigest()
            self.folder = root.absolute() / digest[:16]
            self.folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, size: int | None = None) -> Path:
        """Where a file can be opened.

        Args:
            name: Its name.
            size: Its size in bytes, if that is known.

        Raises:
            StoreError: It cannot be downloaded, or has another size.
        """
        path = self.folder / name
        if not self.remote:
            return path
        try:
            os.utime(path)  # used now
        except FileNotFoundError:
            self._download(path, size)
        return path

    def _download(self, path: Path, size: int | None) -> None:
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            try:
                if path.exists():  # another process was first
                    return
                self._get(path.name, partial)
                found = partial.stat().st_size
                if size is not None and found != size:
                    message = f"{self.place}/{path.name} has {found} bytes instead of {size}"
                    raise StoreError(message)
                partial.replace(path)
            finally:
                # Closing is not enough: a loader process that was forked meanwhile has the lock
                # as well, and would wait for itself.
                fcntl.flock(lock, fcntl.LOCK_UN)
        if self.limit is not None and size is not None:
            self._trim(path, self.limit)

    def _get(self, name: str, target: Path) -> None:
        system, root = _file_system(self.place)
        try:
            system.get_file(f"{root}/{name}", str(target))
        except Exception as error:  # of whatever library the protocol needs
            raise StoreError(f"{self.place}/{name} cannot be read: {error!r}") from error

    def _read(self, name: str) -> bytes:
        try:
            if not self.remote:
                return (self.folder / name).read_bytes()
            system, root = _file_system(self.place)
            content: bytes = system.cat_file(f"{root}/{name}")
        except (ImportError, StoreError):
            raise
        except Exception as error:
            raise StoreError(
                f"there are no finished shards at {self.place}: {name} cannot be read: {error!r}"
            ) from error
        return content

    def _trim(self, newest: Path, limit: int) -> None:
        """Delete what was used longest ago; who still needs it downloads it again."""
        files = []
        for path in self.folder.glob(f"*{newest.suffix}"):
            with suppress(FileNotFoundError):  # another process deletes as well
                status = path.stat()
                files.append((status.st_mtime_ns, status.st_size, path))
        total = sum(size for _, size, _ in files)
        for _, size, path in sorted(files):
            if total <= limit or path == newest:
                break
            path.unlink(missing_ok=True)
            total -= size


def is_url(place: str | os.PathLike[str]) -> bool:
    """Whether it names something that is not a path."""
    return "://" in os.fspath(place)


def _file_system(place: str) -> tuple[Any, str]:
    # Here: a folder needs none, and each protocol brings a library of its own.
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        raise _lacking(place, error) from error
    try:
        system, root = url_to_fs(place)
    except ImportError as error:
        raise _lacking(place, error) from error
    except ValueError as error:
        raise StoreError(f"{place} is no URL that fsspec knows: {error}") from error
    return system, str(root).rstrip("/")


def _lacking(place: str, error: ImportError) -> ImportError:
    return ImportError(
        f"{place} cannot be read ({error}): pip install 'inforeg-lightning[streaming]' brings "
        "https://; s3:// needs s3fs as well, gs:// needs gcsfs"
    )
