"""Train several runs beside each other, each in a worker process, and hear of every epoch."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

_TRAIN = Path(__file__).resolve().parents[1] / "train.py"


@dataclass(frozen=True)
class Task:
    """A run to be trained.

    Attributes:
        overrides: As on the command line of ``train.py``.
        processes: How many processes it trains on. More than one are started by a program of its
            own, since each of them has to start it again.
    """

    overrides: tuple[str, ...]
    processes: int = 1


@dataclass(frozen=True)
class Event:
    """What a worker tells.

    Attributes:
        task: Index of the run.
        kind: ``"start"``, ``"epoch"``, ``"done"`` or ``"failed"``.
        detail: Of an epoch, a ``progress.Epoch``; of a failed run, the error.
    """

    task: int
    kind: str
    detail: Any = None


def train_all(tasks: Sequence[Task], workers: int, log: Path) -> Iterator[Event]:
    """Train runs in worker processes.

    The workers end with this generator, however it ends: closed, interrupted, or by an error.

    Args:
        tasks: The runs.
        workers: Number of processes, each of which trains one run at a time.
        log: File for whatever the workers print.

    Yields:
        Events, as they come. A run that fails, even by the death of its worker, is one event;
        the others go on.
    """
    pool = _Pool(tasks, log)
    try:
        for _ in range(min(workers, len(tasks))):
            pool.start()
        while pool.busy:
            for connection in wait(list(pool.busy)):
                yield pool.receive(connection)
    finally:
        pool.stop()


class _Pool:
    """Worker processes, each with a pipe: a shared queue would hang when one dies holding it."""

    def __init__(self, tasks: Sequence[Task], log: Path) -> None:
        self.context = multiprocessing.get_context("spawn")  # a fork would copy torch's locks
        self.waiting = list(enumerate(tasks))[::-1]
        self.log = str(log)
        self.busy: dict[Any, tuple[Any, int]] = {}
        self.processes: list[Any] = []

    def start(self) -> None:
        """Start a worker with the next run."""
        ours, theirs = self.context.Pipe()
        # Not a daemon, which may have no children: a run may load its data in processes of its own.
        process = self.context.Process(target=_work, args=(theirs, self.log))
        process.start()
        theirs.close()
        self.processes.append(process)
        self._submit(ours, process)

    def receive(self, connection: Any) -> Event:
        """The next event of a worker, which gets another run when it has ended one."""
        process, index = self.busy[connection]
        try:
            event: Event = connection.recv()
        except (EOFError, ConnectionResetError):
            del self.busy[connection]
            _kill(process)
            if self.waiting:
                self.start()
            return Event(index, "failed", f"its worker died (exit {process.exitcode})")
        if event.kind in ("done", "failed"):
            del self.busy[connection]
            self._submit(connection, process)
        return event

    def stop(self) -> None:
        """End all workers at once."""
        # Not `terminate`: Lightning takes SIGTERM as a request, and an idle worker needs seconds
        # to unload torch. A run that was under way has no result.json, and is redone.
        for process in self.processes:
            _kill(process)

    def _submit(self, connection: Any, process: Any) -> None:
        if self.waiting:
            index, task = self.waiting.pop()
            connection.send((index, task))
            self.busy[connection] = (process, index)
        else:
            connection.close()  # the worker reads the end of the file, and ends


def _kill(process: Any) -> None:
    """End a worker and all that it has started, which is its group."""
    if process.is_alive() or process.exitcode:
        with suppress(ProcessLookupError):  # it had no time to make a group
            os.killpg(process.pid, signal.SIGKILL)
    process.kill()
    process.join()


def _work(connection: Connection, log: str) -> None:
    os.setpgrp()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # they reach the parent, which ends us
    # A spawned process would spawn its loaders too, each of which would import torch once more.
    multiprocessing.set_start_method(None, force=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, sys.stdout.fileno())
    os.dup2(descriptor, sys.stderr.fileno())
    with suppress(EOFError):
        while True:
            index, task = connection.recv()
            connection.send(Event(index, "start"))
            connection.send(_outcome(index, task, connection))


def _outcome(index: int, task: Task, connection: Connection) -> Event:
    def tell(epoch: Any) -> None:
        connection.send(Event(index, "epoch", epoch))

    try:
        if task.processes > 1:
            return _train_in_program(index, task, tell)
        from running.compose import composed, place_of
        from running.progress import EpochEvents
        from running.training import run

        ((cfg, hydra),) = composed([task.overrides])
        run(cfg, place_of(cfg, hydra), [EpochEvents(tell)])
    except BaseException as error:  # a worker outlives whatever a run does, SystemExit included
        traceback.print_exc()
        from running.errors import RecipeError

        kind = "" if isinstance(error, RecipeError) else f"{type(error).__name__}: "
        return Event(index, "failed", f"{kind}{error}")
    return Event(index, "done")


def _train_in_program(index: int, task: Task, tell: Any) -> Event:
    from running.progress import epoch_of_line

    command = [sys.executable, str(_TRAIN), *task.overrides]
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout or ():
            print(line, end="", flush=True)
            last = line.strip() or last
            if epoch := epoch_of_line(line):
                tell(epoch)
    if process.returncode:
        return Event(index, "failed", f"train.py ended with {process.returncode} after: {last}")
    return Event(index, "done")


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # returns when the parent is gone, even killed
        os.killpg(0, signal.SIGKILL)
