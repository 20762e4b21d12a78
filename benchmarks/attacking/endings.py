"""Programs that are killed, told to stop, robbed of their data, or run twice at once.

After each, the same command is given again, and what it makes must be, to the byte, what it makes
when it is left alone.
"""

import hashlib
import json
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attacking import programs
from attacking.damage import Rng
from attacking.programs import Ended, Started
from attacking.samples import Samples
from attacking.tally import Tally

_MEASURED = "measured.json"


@dataclass
class Job:
    """A command, how long it takes when it is left alone, and what it makes.

    Attributes:
        name: File in ``experiments/``.
        arguments: Its command line, in a folder of its own.
        made: What it has made, as something that can be compared.
        seconds: How long it takes.
        expected: What ``made`` says when it was left alone.
    """

    name: str
    arguments: tuple[str, ...]
    made: Callable[[Path], Any]
    seconds: float = 0.0
    expected: Any = None

    def start(self, cwd: Path) -> Started:
        """Start it."""
        return Started(self.name, *self.arguments, cwd=cwd)

    def measure(self, work: Path) -> None:
        """Leave it alone once."""
        begun = time.monotonic()
        ended = self.start(work).wait()
        self.seconds = time.monotonic() - begun
        if ended.code != 0:
            raise RuntimeError(f"{self.name} {self.arguments} fails by itself: {ended.said}")
        self.expected = self.made(work)
        shutil.rmtree(work)

    def finish(self, cwd: Path, what: str, tally: Tally) -> bool:
        """Give the command again; count it as lost if it does not end as it should."""
        ended = self.start(cwd).wait()
        if ended.traced:
            tally.add("traceback", f"{what}; taken up again: {ended.said[-1000:]}")
        elif ended.code != 0:
            tally.add("lost", f"{what}; taken up again: code {ended.code}: {ended.said[-600:]}")
        elif self.made(cwd) != self.expected:
            tally.add("wrong", f"{what}; taken up again, it made something else")
        else:
            return True
        return False


def jobs(samples: Samples) -> list[Job]:
    """One of each kind, as it was measured."""
    programs.warm()
    measured, found = json.loads((samples.folder / _MEASURED).read_text()), _jobs(samples)
    for job in found:
        job.seconds, job.expected = measured[job.name]
    return found


def measure(samples: Samples) -> None:
    """Leave one of each kind alone, and keep how long it took and what it made."""
    programs.warm()
    found = _jobs(samples)
    for job in found:
        job.measure(samples.folder / "measuring" / "in")
    measured = {job.name: (job.seconds, job.expected) for job in found}
    (samples.folder / _MEASURED).write_text(json.dumps(measured))


def _jobs(samples: Samples) -> list[Job]:
    prepare = ("data=cremad", f"data.root={samples.cremad}", "data.store=out", "workers=2")
    train = ("experiment=synthetic", "callbacks=inforeg", "runs=out", "trainer.max_epochs=4")
    study = ("demo", "experiment=synthetic", "trainer.max_epochs=2", "--methods", "none", "inforeg",
             "--seeds", "0", "1", "--runs", "out", "--workers", "1")  # fmt: skip
    return [
        Job("prepare.py", prepare, _bytes),
        Job("shard.py", (f"store={samples.store}", "out=out", "shard_mb=0.2"), _bytes),
        Job("train.py", train, _results),
        Job("study.py", study, _results),
    ]


def _bytes(cwd: Path) -> dict[str, str]:
    folder = cwd / "out"
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def stored(cwd: Path, name: str = "out") -> dict[str, str]:
    """The large files of a store: those that say nothing of where the clips lay."""
    folder = cwd / name
    files = [folder / file for file in ("frames.bin", "audio.bin", "rejected.csv")]
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files if path.exists()
    }


def _results(cwd: Path) -> dict[str, Any]:
    found = {}
    for path in sorted((cwd / "out").rglob("seed=*/result.json")):
        result = json.loads(path.read_text())
        numbers = {
            part: {k: result[part][k] for k in ("test", "probe")} for part in ("best", "last")
        }
        numbers["history"] = json.loads((path.parent / "history.json").read_text())
        found[str(path.parent.relative_to(cwd))] = numbers
    return found


def judge(ended: Ended, what: str, tally: Tally) -> bool:
    """Count how a program ended that was disturbed, unless it is well; whether it is."""
    if ended.traced:
        tally.add("traceback", f"{what}: code {ended.code}: {ended.said[-1500:]}")
    elif ended.code is None:
        tally.add("wrong", f"{what}: it did not end: {ended.said[-600:]}")
    elif ended.failed and ended.code > 0 and not ended.said.strip():
        tally.add("wrong", f"{what}: code {ended.code} and not a word")
    else:
        return True
    return False


def none_left(started: Started, what: str, tally: Tally) -> bool:
    """Whether all processes of a program are gone; counted if not."""
    if left := started.left():
        tally.add("wrong", f"{what}: processes stay behind: {left}")
    return not left


def settled(work: Path, number: int) -> Path:
    """A new folder to work in."""
    return work / f"{number:04d}" / "in"


def moment(job: Job, rng: Rng) -> float:
    """Some time of its work."""
    return float(rng.uniform(0.05, 1.0)) * job.seconds


def gone(path: Path) -> None:
    """Remove a folder to work in."""
    shutil.rmtree(path.parent, ignore_errors=True)


KILL, TERMINATE, INTERRUPT, HANG_UP = (
    signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP
)  # fmt: skip
