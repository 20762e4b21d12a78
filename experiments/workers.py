"""Train several runs beside each other, each in a worker process, and hear of every epoch."""

import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

CONF = Path(__file__).resolve().parent.parent / "conf"


@dataclass(frozen=True)
class Event:
    """What a worker tells.

    Attributes:
        job: Index of the run.
        kind: ``"start"``, ``"epoch"``, ``"done"`` or ``"failed"``.
        detail: Of an epoch, its number (from 1), the number of epochs and the validation
            accuracy; of a finished run, its folder; of a failed one, the error.
    """

    job: int
    kind: str
    detail: Any = None


def train_all(jobs: Sequence[Sequence[str]], workers: int, log: Path) -> Iterator[Event]:
    """Train runs in worker processes.

    The workers end with this generator, however it ends: closed, interrupted, or by an error.

    Args:
        jobs: The overrides of each run, as on the command line of ``train.py``.
        workers: Number of processes, each of which trains one run at a time.
        log: File for whatever the workers print.

    Yields:
        Events, as they come. A run that fails, even by the death of its worker, is one event;
        the others go on.
    """
    crew = _Crew(jobs, log)
    try:
        for _ in range(min(workers, len(jobs))):
            crew.hire()
        while crew.busy:
            for connection in wait(list(crew.busy)):
                yield crew.hear(connection)
    finally:
        crew.dismiss()


class _Crew:
    """Worker processes, each with a pipe: a shared queue would hang when one dies holding it."""

    def __init__(self, jobs: Sequence[Sequence[str]], log: Path) -> None:
        self.context = multiprocessing.get_context("spawn")  # a fork would copy torch's locks
        self.waiting = list(enumerate(jobs))[::-1]
        self.log = str(log)
        self.busy: dict[Any, tuple[Any, int]] = {}
        self.processes: list[Any] = []

    def hire(self) -> None:
        ours, theirs = self.context.Pipe()
        # Not a daemon, which may have no children: a run may load its data in processes of its own.
        process = self.context.Process(target=_work, args=(theirs, self.log))
        process.start()
        theirs.close()
        self.processes.append(process)
        self._give(ours, process)

    def hear(self, connection: Any) -> Event:
        process, index = self.busy[connection]
        try:
            event = connection.recv()
        except (EOFError, ConnectionResetError):
            del self.busy[connection]
            process.join()
            if self.waiting:
                self.hire()
            return Event(index, "failed", f"its worker died (exit {process.exitcode})")
        if event.kind in ("done", "failed"):
            del self.busy[connection]
            self._give(connection, process)
        return event

    def _give(self, connection: Any, process: Any) -> None:
        if self.waiting:
            index, overrides = self.waiting.pop()
            connection.send((index, list(overrides)))
            self.busy[connection] = (process, index)
        else:
            connection.close()  # the worker reads the end of the file, and ends

    def dismiss(self) -> None:
        # Not `terminate`: Lightning takes SIGTERM as a request, and an idle worker needs seconds
        # to unload torch. A run that was under way has no result.json, and is redone.
        for process in self.processes:
            process.kill()
        for process in self.processes:
            process.join()


def train_one(overrides: Sequence[str], watchers: Sequence[Any] | None = None) -> Path:
    """Train what ``train.py`` would with these overrides, in the folder that it would take."""
    from hydra import compose, initialize_config_dir
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import open_dict

    from training import place_of, run

    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", list(overrides), return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    place = place_of()
    with open_dict(cfg):
        del cfg["hydra"]
    run(cfg, place, watchers)
    return place.folder


def _work(connection: Connection, log: str) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us
    # A spawned process would spawn its loaders too, each of which would import torch once more.
    multiprocessing.set_start_method(None, force=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, sys.stdout.fileno())
    os.dup2(descriptor, sys.stderr.fileno())
    with suppress(EOFError):
        while True:
            index, overrides = connection.recv()
            connection.send(Event(index, "start"))
            connection.send(_outcome(index, overrides, connection))


def _outcome(index: int, overrides: Sequence[str], connection: Connection) -> Event:
    try:
        from progress import EpochEvents

        folder = train_one(overrides, [EpochEvents(index, connection)])
    except BaseException as error:  # a worker outlives whatever a run does, SystemExit included
        traceback.print_exc()
        return Event(index, "failed", f"{type(error).__name__}: {error}")
    return Event(index, "done", folder)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # returns when the parent is gone, even killed
        os._exit(1)
