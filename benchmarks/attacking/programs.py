"""Run the programs of `experiments/` by the hundred: each in a fork of a process that is warm.

A fork has torch, Lightning and Hydra imported already, so that a wrong command costs a fraction of
a second. What it runs is the program's own file, as `__main__`, in a session of its own.
"""

import os
import runpy
import signal
import sys
import time
import traceback
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from attacking.samples import ROOT

_PATIENCE = 300.0  # seconds; a program on the samples takes 2 to 10 on an idle machine


@dataclass
class Ended:
    """How a program ended.

    Attributes:
        code: Its exit code; minus the signal that killed it; ``None`` if it had to be killed.
        said: All that it printed, to both outputs.
    """

    code: int | None
    said: str

    @property
    def failed(self) -> bool:
        """Whether it says so: neither 0 nor hanging."""
        return self.code not in (0, None)

    @property
    def traced(self) -> bool:
        """Whether it printed a traceback."""
        return "Traceback (most recent call last)" in self.said


class Started:
    """A running program.

    Args:
        name: File in ``experiments/``.
        arguments: Its command line.
        cwd: Its working folder, outside of which what it prints is kept.
    """

    def __init__(self, name: str, *arguments: str, cwd: Path) -> None:
        cwd.mkdir(parents=True, exist_ok=True)
        self.output = cwd.parent / f".{cwd.name}.{name}.{time.monotonic_ns()}.said"
        self.output.touch()
        self.command = " ".join([name, *arguments])
        _flush()
        self.pid = os.fork()
        if not self.pid:
            _become(name, arguments, cwd, self.output)

    def kill(self, number: int, whom: str = "program") -> bool:
        """Send a signal to the ``program``, to its whole ``group``, or to one of its ``workers``.

        Returns:
            Whether there was anybody to get it.
        """
        if self.ended():
            return False
        with suppress(ProcessLookupError):
            if whom == "group":
                os.killpg(self.pid, number)
            elif whom == "program":
                os.kill(self.pid, number)
            else:
                workers = [pid for pid in session(self.pid) if pid != self.pid]
                if not workers:
                    return False
                os.kill(workers[-1], number)
            return True
        return False

    def ended(self) -> bool:
        """Whether it is over; it can still be waited for."""
        with suppress(ChildProcessError):
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        return True

    def wait(self, patience: float = _PATIENCE) -> Ended:
        """Wait for its end, and put an end to it and to all it started if it takes too long."""
        deadline = time.monotonic() + patience
        while not self.ended() and time.monotonic() < deadline:
            time.sleep(0.01)
        hanging = not self.ended()
        if hanging:
            os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        said = self.output.read_text(errors="replace")
        self.output.unlink()
        return Ended(None if hanging else os.waitstatus_to_exitcode(status), said)

    def left(self, patience: float = 90.0) -> list[int]:
        """Processes that it started and that are still there some time after its end; killed."""
        deadline = time.monotonic() + patience
        while (found := session(self.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid in found:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return found


def run(name: str, *arguments: str, cwd: Path, patience: float = _PATIENCE) -> Ended:
    """Run a program to its end."""
    return Started(name, *arguments, cwd=cwd).wait(patience)


def warm() -> None:
    """Import what programs import, once, before any is started."""
    import hydra  # noqa: F401
    import lightning.pytorch  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import torch
    import torchvision  # noqa: F401

    import inforeg_lightning.callbacks
    import inforeg_lightning.data.prepare
    import inforeg_lightning.data.shards
    import inforeg_lightning.models
    import inforeg_lightning.report  # noqa: F401

    torch.set_num_threads(1)


def session(leader: int) -> list[int]:
    """Living processes of a session, by number."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError, ValueError, IndexError):
            state, _, _, of, *_ = (path / "stat").read_text().rsplit(")", 1)[1].split()
            if int(of) == leader and state != "Z":
                found.append(int(path.name))
    return sorted(found)


def _flush() -> None:
    """Write what is printed, so that a fork does not print it again."""
    sys.stdout.flush()
    sys.stderr.flush()


def _become(name: str, arguments: tuple[str, ...], cwd: Path, output: Path) -> None:
    """In the fork: become the program. It does not return."""
    code = 1
    try:
        os.setsid()
        os.chdir(cwd)
        said = os.open(output, os.O_WRONLY | os.O_APPEND)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for descriptor, target in ((nothing, 0), (said, 1), (said, 2)):
            os.dup2(descriptor, target)
        path = ROOT / "experiments" / name
        sys.argv = [str(path), *arguments]
        # As Python puts it there for a program: its own folder, in the place of ours.
        sys.path[0] = str(path.parent)
        runpy.run_path(str(path), run_name="__main__")
        code = 0
    except SystemExit as ending:
        if isinstance(ending.code, str):
            print(ending.code, file=sys.stderr)
        code = ending.code if isinstance(ending.code, int) else int(ending.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            _flush()
        os._exit(code & 0xFF)
