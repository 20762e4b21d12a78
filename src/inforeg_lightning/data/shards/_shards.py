"""The clips of a store, read from its shards in a folder or at a URL."""

import os
from collections.abc import Sequence
from pathlib import Path

from inforeg_lightning.data.shards._manifest import (
    MARK,
    MOST_OF_MARK,
    Manifest,
    read_manifest,
    read_mark,
)
from inforeg_lightning.data.shards._mirror import Cache, Files, Folder
from inforeg_lightning.data.shards._tables import read_all
from inforeg_lightning.data.shards._url import Remote, is_url
from inforeg_lightning.data.store.clips import Clips
from inforeg_lightning.data.store.files import StoreError


class Shards(Clips):
    """The clips of a store, from its shards; rows and bytes are those of the store.

    Nothing that a server sends is believed: files have the names that ``write_shards`` gives them,
    or all are refused; each is used only if its size and its SHA-256 are those of ``shards.json``.

    Args:
        place: Their folder, or a URL that fsspec knows (``https://…``, ``s3://…``, ``gs://…``).
        cache: Folder for what comes from a URL; by default in the user's cache folder.
        cache_gb: Most that shards may take there, in units of 10⁹ bytes; by default no limit.

    Attributes:
        shard: Number of the shard of each clip, ``(N,)`` int64.
        files: Names of the shards.
        remote: Whether shards have to be brought here.

    Raises:
        ImportError: A package for this URL is not installed.
        StoreError: They are missing, unfinished or damaged, or the URL cannot be read.
        ValueError: ``place`` or ``cache`` is empty, or ``cache_gb`` is not a number above 0.
    """

    def __init__(
        self,
        place: str | os.PathLike[str],
        cache: str | os.PathLike[str] | None = None,
        cache_gb: float | None = None,
    ) -> None:
        if not os.fspath(place):
            raise ValueError("place must be a folder or a URL, got an empty text")
        if cache is not None and not os.fspath(cache):
            raise ValueError("cache must be a folder, got an empty text")
        if cache_gb is not None and not 0 < cache_gb < float("inf"):
            raise ValueError(f"cache_gb must be above 0 and finite, got {cache_gb}")
        limit = None if cache_gb is None else round(cache_gb * 1e9)
        self.remote = is_url(place)
        manifest, self._mirror = (
            _at_url(os.fspath(place), cache, limit) if self.remote else _in_folder(Path(place))
        )
        self.files = manifest.shards
        tables, places = read_all(self._mirror, manifest)
        self.shard, self._sound, self._bounds = places
        super().__init__(self._mirror.shown, tables)
        if not self.remote:
            for name in self.files:
                self._mirror.get(name)

    def fetch(self, shards: Sequence[int]) -> None:
        """Bring shards here, if they are not."""
        for number in shards:
            self._open(self.files[number])

    def check(self) -> list[str]:
        """Read every shard; what is wrong with them, a sentence for each that is damaged.

        The other files were checked when this was made. Below a URL, what is damaged in the cache
        is brought again.
        """
        found = []
        for name in self.files:
            try:
                self._mirror.get(name, thorough=True)
            except StoreError as error:
                found.append(str(error))
        return found

    def _audio_place(self, i: int) -> tuple[str, int]:
        return self.files[self.shard[i]], int(self._sound[i])

    def _frame_place(self, i: int, frame: int) -> tuple[str, int, int]:
        start, end = self._bounds[self._first[i] + frame].tolist()
        return self.files[self.shard[i]], start, end

    def _open(self, file: str) -> Path:
        return self._mirror.get(file)


def _at_url(
    url: str, cache: str | os.PathLike[str] | None, limit: int | None
) -> tuple[Manifest, Files]:
    remote = Remote(url)
    try:
        mark = remote.read(MARK, MOST_OF_MARK)
    except StoreError as error:
        # Its own words hold no credentials, and nothing stands behind it.
        raise StoreError(f"there are no finished shards at {remote.shown}: {error}") from None
    manifest = read_manifest(mark, remote.shown)
    return manifest, Cache(remote, mark, manifest.files, cache, limit)


def _in_folder(folder: Path) -> tuple[Manifest, Files]:
    folder = folder.absolute()  # a worker may have another working folder
    mark = read_mark(folder)
    manifest = read_manifest(mark, str(folder))
    return manifest, Folder(folder, manifest.files)
