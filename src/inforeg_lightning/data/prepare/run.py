"""Prepare a raw data set: on all cores, resumable, losing no clip.

The clips, in the order of their names, are cut into parts of 32. Workers write parts; a part
stands in ``STORE/parts`` whole or not at all. When all do, they are joined in order. Nothing
depends on the number of workers or on when a run was killed, so the bytes of a store do not
either. Several machines may each write every Nth part (``share``); whoever prepares the whole
thereafter finds all parts done and joins them.
"""

import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from inforeg_lightning.data.prepare.folder import finished, locked, locked_share, remove_parts
from inforeg_lightning.data.prepare.lists import fetch_lists, list_arguments
from inforeg_lightning.data.prepare.merge import check_same, merge
from inforeg_lightning.data.prepare.pool import Job, Pool
from inforeg_lightning.data.prepare.raw_tree import Source, digest
from inforeg_lightning.data.prepare.recipe import Recipe
from inforeg_lightning.data.prepare.result import Prepared, Progress, prepared, prepared_share
from inforeg_lightning.data.store.files import read_tables
from inforeg_lightning.data.store.names import folder_argument, name_problem

PART = 32
"""Clips per part: some seconds of work, which is what a kill can lose for each worker."""


def prepare(
    recipe: Recipe,
    root: str | os.PathLike[str],
    store: str | os.PathLike[str],
    train_list: str | os.PathLike[str] | None = None,
    test_list: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    timeout: float = 300.0,
    download: bool = False,
    share: str | None = None,
    watch: Callable[[Progress], None] = lambda progress: None,
) -> Prepared:
    """Prepare a raw data set; go on if it was begun, do nothing if it is done.

    It starts processes: a script must call it under ``if __name__ == "__main__":``.

    Args:
        recipe: What is prepared, and how: ``CREMADRecipe()``, ``KineticsSoundsRecipe()``, or that
            of another data set.
        root: The raw tree.
        store: Where the store goes.
        train_list: Published list of the training half; optional for CREMA-D, and for
            Kinetics-Sounds if the folders of the clips are named as their classes.
        test_list: The same of the test half.
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
        RawTreeError: The raw tree cannot be read, or no longer.
        WorkerError: A worker failed for another reason than a clip.
        ValueError: An argument is wrong, or a list cannot be read or fetched.
    """
    started = time.monotonic()
    _check(recipe, workers, timeout)
    path, tree = (folder_argument(n, p).absolute() for n, p in (("store", store), ("root", root)))
    number, count = (1, 1) if share is None else _share(share)
    lists = list_arguments(train_list, test_list)
    if download and lists == (None, None):
        lists = fetch_lists(recipe.data, recipe.lists)
    sources = _storable(recipe.find(tree, *lists))
    settings = recipe.settings() | {"sources": digest(sources)}
    workers = len(os.sched_getaffinity(0)) if workers is None else workers
    with locked(path, shared=share is not None):
        if (path / "store.json").exists():
            tables = read_tables(path)
            check_same(path, tables.settings, settings)
            remove_parts(path)
            return prepared(path, tables, 0.0)
        (path / "parts").mkdir(exist_ok=True)
        every = [
            Job(path / "parts" / f"{first // PART:05d}", sources[first : first + PART])
            for first in range(0, len(sources), PART)
        ]
        jobs = every[number - 1 :: count]
        with locked_share(path, number, count) if share else nullcontext():
            _write(Pool(recipe, settings, workers, timeout), path, jobs, settings, watch)
            if share:
                return prepared_share(path, jobs, time.monotonic() - started, share)
        tables = merge([job.folder for job in jobs], path)
        remove_parts(path)
    return prepared(path, tables, time.monotonic() - started)


def _write(
    pool: Pool,
    store: Path,
    jobs: Sequence[Job],
    settings: Mapping[str, Any],
    watch: Callable[[Progress], None],
) -> None:
    total = sum(len(job.sources) for job in jobs)
    done = finished(store, jobs, settings)
    resumed = reached = sum(len(job.sources) for job in jobs if job.folder in done)
    watch(Progress(reached, resumed, total))
    for begun in pool.run([job for job in jobs if job.folder not in done]):
        reached = min(reached + begun, total)
        watch(Progress(reached, resumed, total))


def _check(recipe: Recipe, workers: int | None, timeout: float) -> None:
    if not isinstance(recipe, Recipe):
        raise ValueError(f"recipe must be a Recipe, such as CREMADRecipe(), got {recipe!r}")
    if workers is not None and (type(workers) is not int or workers < 1):
        raise ValueError(f"workers must be an integer of at least 1, or None, got {workers!r}")
    if type(timeout) not in (int, float) or not timeout > 0:
        raise ValueError(f"timeout must be a number of seconds above 0, got {timeout!r}")


def _storable(sources: Sequence[Source]) -> list[Source]:
    """The same clips, with a problem where a name cannot be stored."""
    return [
        source._replace(problem=source.problem or name_problem(source.name)) for source in sources
    ]


def _share(written: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d+)/(\d+)", str(written))
    number, count = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= number <= count:
        raise ValueError(f"share must be K/N with K from 1 to N, such as 3/16, got {written!r}")
    return number, count
