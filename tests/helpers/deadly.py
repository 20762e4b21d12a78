"""Paths at which a process ends, as with a decoder that crashes: importable in worker processes."""

import os
import signal
import time
from pathlib import PosixPath

import numpy as np


class Crashing(PosixPath):
    """Ends the process that asks for the file's size by a segmentation fault."""

    def stat(self, **_):
        signal.signal(signal.SIGSEGV, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGSEGV)


class CrashingOnce(PosixPath):
    """Does so the first time only; the file beside it remembers."""

    def stat(self, **_):
        seen = PosixPath(f"{self}.seen")
        if not seen.exists():
            seen.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return PosixPath(self).stat()


class Hanging(PosixPath):
    """Never answers."""

    def stat(self, **_):
        time.sleep(3600)


class Odd(PosixPath):
    """Raises what nobody expects."""

    def stat(self, **_):
        raise LookupError("something odd")


class Killed(PosixPath):
    """Is killed from outside the first four times that the file's size is asked for."""

    def stat(self, **_):
        seen = PosixPath(f"{self}.killed")
        times = len(seen.read_text()) if seen.exists() else 0
        if times < 4:
            seen.write_text("x" * (times + 1))
            os.kill(os.getpid(), signal.SIGKILL)
        return PosixPath(self).stat()


class Greedy(PosixPath):
    """Takes more memory than there is for a clip."""

    def stat(self, **_):
        return np.zeros(3 << 30, np.uint8).sum()


class KilledAlways(PosixPath):
    """Is killed from outside each time that the file's size is asked for."""

    def stat(self, **_):
        os.kill(os.getpid(), signal.SIGKILL)
