"""One run, one folder: what identifies a run, and how its folder is claimed and given up.

A run is identified by what is built from its configuration, so that a sweep over a parameter that
a method does not have repeats no training.
"""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from inforeg_lightning.report.folder import CHECKPOINT_FOLDER, OWN_FILES, RESULT, read_result
from inforeg_lightning.report.schema import FolderError
from running.errors import RecipeError
from running.secrets import public

# Where data lie and how they are shown or fetched does not change what is learnt.
_WITHOUT_INFLUENCE = (
    ("data", "root"),
    ("data", "store"),
    ("data", "download"),
    ("data", "num_workers"),
    ("trainer", "enable_progress_bar"),
    ("trainer", "log_every_n_steps"),
)
# Seconds. To look whether a lock is held is to hold it for a moment, and the workers of a program
# that was killed end a moment after it.
_PATIENCE = 2.0
_OWN = (*OWN_FILES, CHECKPOINT_FOLDER)


def identity(cfg: DictConfig) -> dict[str, Any]:
    """Everything in a configuration that has a say in the numbers, as plain data."""
    keys = ("seed", "threads", "data", "model", "trainer", "callbacks")
    plain: dict[str, Any] = public(OmegaConf.to_container(cfg, resolve=True))
    built = {key: plain[key] for key in keys}
    built["callbacks"] = {
        name: node
        for name, node in plain["callbacks"].items()
        if isinstance(node, dict) and "_target_" in node
    }
    if plain["init"]["encoders"] is not None:
        built["init"] = {key: value for key, value in plain["init"].items() if value is not None}
    for group, key in _WITHOUT_INFLUENCE:
        built[group].pop(key, None)
    return built


def finished(folder: Path, run: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result of a run where it is finished in this folder already, else ``None``.

    Args:
        folder: The run folder; it need not exist, and stays as it is.
        run: ``identity`` of the run.

    Raises:
        RecipeError: The folder holds a finished run of another configuration, or a result that
            cannot be read.
    """
    remedy = "give rerun=true to replace it, or runs=FOLDER to put this one elsewhere"
    try:
        if not (folder / RESULT).exists():
            return None
        result = read_result(folder)
    except (FolderError, OSError) as error:
        problem = f"{folder} holds a result that cannot be used ({error})"
        raise RecipeError(f"{problem}; {remedy}") from None
    there, here = result.get("config", {}), json.loads(json.dumps(run))
    if there == here:
        return result
    raise RecipeError(
        f"{folder} holds a finished run of another configuration ({_difference(there, here)}); "
        f"{remedy}"
    )


@dataclass(frozen=True)
class Claim:
    """A run folder that this process has to itself.

    Attributes:
        folder: The run folder.
        there: The result of the same run where it is finished already, else ``None``.
        made: The folders that were made for it, the innermost first.
    """

    folder: Path
    there: dict[str, Any] | None
    made: tuple[Path, ...] = ()

    def vacate(self) -> None:
        """Give the folder up, as no run began in it: leave it as it was before."""
        _clear(self.folder)
        if _before(self.folder).exists():
            _move(_before(self.folder), self.folder)
        with suppress(OSError):  # of a folder that holds something
            for path in self.made:
                path.rmdir()
                _lock_of(path).unlink(missing_ok=True)


@contextmanager
def claimed(
    folder: Path, run: Mapping[str, Any], rerun: bool, waits: bool = False
) -> Iterator[Claim]:
    """Have a folder to oneself, emptied of an older run's files unless that run is this one.

    Args:
        folder: The run folder; made if missing. Files that are not a run's own are left alone.
        run: ``identity`` of the run.
        rerun: Replace a finished run, whatever its configuration.
        waits: Wait for another process that trains in it, instead of refusing.

    Raises:
        RecipeError: The folder holds a finished run of another configuration, another process
            trains in it, or it cannot be made.
    """
    if not rerun and (there := finished(folder, run)):
        yield Claim(folder, there)
        return
    made = tuple(path for path in (folder, *folder.parents) if not path.exists())
    refused = (
        f"{folder}: another process trains this run; wait for its end, or give runs=FOLDER to "
        "train elsewhere"
    )
    with locked(_lock_of(folder), refused, -1 if waits else _PATIENCE):
        _make(folder)
        # Whoever had the lock before may have finished it.
        there = None if rerun else finished(folder, run)
        if not there:
            # An older run is kept until this one is known to run.
            shutil.rmtree(_before(folder), ignore_errors=True)
            _move(folder, _before(folder))
        try:
            yield Claim(folder, there, made)
        finally:
            shutil.rmtree(_before(folder), ignore_errors=True)


@contextmanager
def locked(file: Path, refused: str, patience: float = _PATIENCE) -> Iterator[None]:
    """Hold a lock that ends with this process, however it ends.

    Args:
        file: The lock's file, which stays; its folder is made if missing.
        refused: What the error says when another process holds it.
        patience: Seconds to wait for it; negative for as long as it takes.
    """
    _make(file.parent)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=patience, poll_interval=0.05)
    except Timeout:
        raise RecipeError(refused) from None
    except OSError as error:
        raise RecipeError(f"{file} cannot be written ({error.strerror})") from None
    try:
        yield
    finally:
        lock.release()


def is_locked(folder: Path) -> bool:
    """Whether a process trains in a run folder now."""
    if not _lock_of(folder).exists():
        return False
    try:
        with locked(_lock_of(folder), ""):
            return False
    except RecipeError:
        return True


def _lock_of(folder: Path) -> Path:
    # Beside the folder: Lightning's logger warns of a folder that is not empty.
    return folder.with_name(f".{folder.name}.lock")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecipeError(f"{folder} cannot be made a folder ({error.strerror})") from None


def _before(folder: Path) -> Path:
    """Where the files of an older run are until they are deleted."""
    return folder.with_name(f".{folder.name}.before")


def _move(source: Path, target: Path) -> None:
    """Move a run's own files from one folder to another."""
    found = [path for name in _OWN if (path := source / name).exists() or path.is_symlink()]
    for path in found:
        target.mkdir(exist_ok=True)
        path.replace(target / path.name)


def _clear(folder: Path) -> None:
    """Remove a run's own files from its folder."""
    for name in OWN_FILES:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / CHECKPOINT_FOLDER, ignore_errors=True)


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    before, after = _flat(old), _flat(new)
    changed = [k for k in sorted(before | after) if before.get(k) != after.get(k)]
    return ", ".join(f"{k}: {before.get(k)!r} there, {after.get(k)!r} here" for k in changed[:3])


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
