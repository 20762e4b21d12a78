"""Worker processes that write the parts of a store, and survive the crash of a decoder."""

import multiprocessing
import os
import signal
import time
import traceback
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
from inforeg_lightning.data.prepare.raw_tree import Source
from inforeg_lightning.data.prepare.recipe import Recipe

# A clip at which a process ends is tried again: the first time it may have been the machine,
# short of memory.
_TRIES = 2
_CRASHES_BETWEEN_CLIPS = 3


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
        self._crashes: dict[str, int] = {}
        self._killers: dict[str, str] = {}
        self._between = 0

    def run(self, jobs: Sequence[Job]) -> Iterator[int]:
        """Write every part.

        Yields:
            Number of clips begun since the last time, at least once for each part.

        Raises:
            WorkerError: A worker failed for another reason than a clip.
        """
        waiting = list(reversed(jobs))
        workers: list[_Worker] = []
        try:
            while waiting or workers:
                while waiting and len(workers) < self.count:
                    workers.append(self._start(waiting.pop()))
                ready = wait([worker.connection for worker in workers], timeout=1.0)
                for worker in list(workers):
                    if worker.connection in ready:
                        yield self._hear(worker, waiting)
                    elif worker.clip and time.monotonic() - worker.since > self.timeout:
                        worker.process.kill()
                    if worker.job is None:
                        workers.remove(worker)
                        self._end(worker)
        finally:
            for worker in workers:
                self._end(worker)

    def _start(self, job: Job) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_work, args=(there,), daemon=True)
        process.start()
        there.close()
        worker = _Worker(process, here)
        self._give(worker, job)
        return worker

    def _give(self, worker: _Worker, job: Job) -> None:
        worker.job, worker.clip = job, None
        scratch = job.folder.with_name(f"{job.folder.name}.{worker.process.pid}")
        killers = {s.name: self._killers[s.name] for s in job.sources if s.name in self._killers}
        order = (scratch, job.sources, self.recipe, self.settings, killers)
        with suppress(OSError):  # it died; hearing from it finds that out
            worker.connection.send(order)

    def _hear(self, worker: _Worker, waiting: list[Job]) -> int:
        """Take one message; returns how many clips it begins."""
        job = worker.job
        assert job is not None
        try:
            kind, detail = worker.connection.recv()
        except (EOFError, OSError):
            self._bury(worker, job)
            waiting.append(job)
            worker.job = None
            return 0
        if kind == "clip":
            worker.clip, worker.since = detail, time.monotonic()
            first_time = detail not in self._begun
            self._begun.add(detail)
            return int(first_time)
        if kind == "failed":
            raise WorkerError(f"a worker failed while it wrote {job.folder.name}:\n{detail}")
        # Here and not in the worker: one that has outlived a killed parent must change nothing.
        Path(detail).replace(job.folder)
        worker.job = None
        if waiting:
            self._give(worker, waiting.pop())
        return 0

    def _bury(self, worker: _Worker, job: Job) -> None:
        """Note of what a worker died."""
        worker.process.join()
        code = worker.process.exitcode or 0
        cause = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        if worker.clip is None:
            self._between += 1
            if self._between >= _CRASHES_BETWEEN_CLIPS:
                raise WorkerError(
                    f"workers end before they begin with a clip ({cause}): what they print says "
                    'why; a script must start this under if __name__ == "__main__":'
                )
            return
        late = time.monotonic() - worker.since > self.timeout
        crashes = self._crashes[worker.clip] = self._crashes.get(worker.clip, 0) + 1
        if crashes >= _TRIES:
            self._killers[worker.clip] = (
                f"decoding took longer than {self.timeout:g} s"
                if late
                else f"decoding ended its process ({cause})"
            )

    def _end(self, worker: _Worker) -> None:
        worker.connection.close()  # at which a worker without a job ends by itself
        if worker.job is not None:
            worker.process.kill()
        worker.process.join()
        worker.process.close()


def _work(connection: Connection) -> None:
    """Write parts until there is nobody to write them for."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends us
    torch.set_num_threads(1)
    while True:
        try:
            scratch, sources, recipe, settings, killers = connection.recv()
        except (EOFError, OSError):
            return
        try:
            write_part(
                scratch,
                sources,
                recipe,
                settings,
                killers,
                lambda name: connection.send(("clip", name)),
            )
            connection.send(("done", os.fspath(scratch)))
        except (BrokenPipeError, ConnectionResetError):
            return  # the parent was killed
        except Exception:
            connection.send(("failed", traceback.format_exc()))
