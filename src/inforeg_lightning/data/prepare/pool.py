"""Worker processes that write the parts of a store, and survive the crash of a decoder."""

import multiprocessing
import os
import re
import resource
import signal
import time
import traceback
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, NamedTuple

import torch

from inforeg_lightning.data.prepare.clip import write_part
from inforeg_lightning.data.prepare.raw_tree import RawTreeError, Source
from inforeg_lightning.data.prepare.recipe import Recipe
from inforeg_lightning.data.store.files import sync_folder
from inforeg_lightning.data.store.names import printable

# A clip at which a process ends is tried again: the first time it may have been the machine.
_TRIES = 2
# A process that is killed from outside (by a person, or for lack of memory) says nothing about its
# clip, which is tried again when all others are done, and never rejected for it.
_TRIES_KILLED = 5
_FROM_OUTSIDE = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
_CRASHES_BETWEEN_CLIPS = 3
_MEMORY = 2 << 30
"""Bytes that a worker may use for its clips; the largest that are accepted need half of that."""


class WorkerError(RuntimeError):
    """A worker failed for another reason than a clip, such as a full disk."""


class Job(NamedTuple):
    """One part to write.

    Attributes:
        folder: Where it will stand, whole or not at all.
        sources: Its clips, in order.
    """

    folder: Path
    sources: list[Source]


@dataclass
class _Worker:
    process: BaseProcess
    connection: Connection
    job: Job | None = None
    clip: str | None = None
    since: float = field(default_factory=time.monotonic)


class Pool:
    """Write parts in several processes.

    Args:
        recipe: How clips are prepared.
        settings: Of the whole store.
        workers: Number of processes, at least 1.
        timeout: Seconds after which a single clip is given up.
    """

    def __init__(
        self, recipe: Recipe, settings: Mapping[str, Any], workers: int, timeout: float
    ) -> None:
        self.recipe, self.settings, self.timeout = recipe, dict(settings), timeout
        self.count = workers
        # Forks of a server that has imported everything: a worker starts in milliseconds, and
        # never inherits locks held by the threads of this process.
        self._context: ForkServerContext = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([__name__])
        self._begun: set[str] = set()
        self._crashes: Counter[tuple[str, bool]] = Counter()
        self._given_up: dict[str, str] = {}
        self._crashes_between = 0

    def run(self, jobs: Sequence[Job]) -> Iterator[int]:
        """Write every part.

        Yields:
            Number of clips begun since the last time, at least once for each part.

        Raises:
            RawTreeError: The raw tree cannot be read any more.
            WorkerError: A worker failed for another reason than a clip.
        """
        waiting = deque(jobs)
        workers: list[_Worker] = []
        try:
            while waiting or workers:
                while waiting and len(workers) < self.count:
                    workers.append(self._start(waiting.popleft()))
                ready = wait([worker.connection for worker in workers], timeout=1.0)
                for worker in list(workers):
                    if worker.connection in ready:
                        yield self._receive(worker, waiting)
                    elif worker.clip and self._is_late(worker):
                        worker.process.kill()
                    if worker.job is None:
                        workers.remove(worker)
                        self._stop(worker)
        finally:
            for worker in workers:
                self._stop(worker)

    def _start(self, job: Job) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_work, args=(there,), daemon=True)
        process.start()
        there.close()
        worker = _Worker(process, here)
        self._submit(worker, job)
        return worker

    def _submit(self, worker: _Worker, job: Job) -> None:
        worker.job, worker.clip = job, None
        scratch = job.folder.with_name(f"{job.folder.name}.{worker.process.pid}")
        names = [source.name for source in job.sources]
        given_up = {name: self._given_up[name] for name in names if name in self._given_up}
        order = (scratch, job.sources, self.recipe, self.settings, given_up)
        with suppress(OSError):  # it has ended; receiving from it finds that out
            worker.connection.send(order)

    def _receive(self, worker: _Worker, waiting: deque[Job]) -> int:
        """Take one message; returns how many clips it begins."""
        job = worker.job
        assert job is not None
        try:
            kind, detail = worker.connection.recv()
        except (EOFError, OSError):
            self._note_end(worker)
            waiting.append(job)
            worker.job = None
            return 0
        if kind == "clip":
            worker.clip, worker.since = detail, time.monotonic()
            self._crashes_between = 0
            first_time = detail not in self._begun
            self._begun.add(detail)
            return int(first_time)
        if kind == "unreadable":
            raise RawTreeError(detail)
        if kind == "failed":
            raise WorkerError(f"a worker failed while it wrote {job.folder.name}: {detail}")
        # Here and not in the worker: one that has outlived a killed parent must change nothing.
        Path(detail).replace(job.folder)
        sync_folder(job.folder.parent)
        worker.job = None
        if waiting:
            self._submit(worker, waiting.popleft())
        return 0

    def _is_late(self, worker: _Worker) -> bool:
        return time.monotonic() - worker.since > self.timeout

    def _note_end(self, worker: _Worker) -> None:
        """Note at which clip a worker ended, and whether the clip is to be tried again."""
        worker.process.join()
        code = worker.process.exitcode or 0
        cause = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        if worker.clip is None:
            self._crashes_between += 1
            if self._crashes_between >= _CRASHES_BETWEEN_CLIPS:
                raise WorkerError(
                    f"workers end before they begin with a clip ({cause}): what they print says "
                    'why; a script must start this under if __name__ == "__main__":'
                )
            return
        late = self._is_late(worker)
        killed = -code in _FROM_OUTSIDE and not late
        self._crashes[worker.clip, killed] += 1
        tries = self._crashes[worker.clip, killed]
        if killed and tries >= _TRIES_KILLED:
            raise WorkerError(
                f"a worker was killed from outside ({cause}) at {printable(worker.clip)} for the "
                f"{tries}th time: is there memory for {self.count} of them? Prepare again with the "
                "same arguments, and it goes on where it was"
            )
        if not killed and tries >= _TRIES:
            self._given_up[worker.clip] = (
                f"decoding took longer than {self.timeout:g} s"
                if late
                else f"decoding ended its process ({cause})"
            )

    def _stop(self, worker: _Worker) -> None:
        worker.connection.close()  # at which a worker without a job ends by itself
        if worker.job is not None:
            worker.process.kill()
        worker.process.join()
        worker.process.close()


def _work(connection: Connection) -> None:
    """Write parts until there is nobody to write them for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us
    torch.set_num_threads(1)
    _limit_memory()
    while True:
        try:
            scratch, sources, recipe, settings, given_up = connection.recv()
        except (EOFError, OSError):
            return
        try:
            write_part(
                scratch,
                sources,
                recipe,
                settings,
                given_up,
                lambda name: connection.send(("clip", name)),
            )
            connection.send(("done", os.fspath(scratch)))
        except (BrokenPipeError, ConnectionResetError):
            return  # the parent was killed
        except RawTreeError as error:
            connection.send(("unreadable", str(error)))
        except OSError as error:
            connection.send(("failed", f"{type(error).__name__}: {error}"))
        except Exception:
            connection.send(("failed", f"\n{traceback.format_exc()}"))


def _limit_memory() -> None:
    """Let what a clip takes beyond the bound be an error of that clip, not the machine's end."""
    with suppress(OSError, ValueError):  # only Linux counts it, and tells how much there is
        status = Path("/proc/self/status").read_text()
        used = int(re.search(r"VmData:\s*(\d+) kB", status)[1]) << 10  # type: ignore[index]
        _, most = resource.getrlimit(resource.RLIMIT_DATA)
        limit = used + _MEMORY
        if most == resource.RLIM_INFINITY or limit < most:
            resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
