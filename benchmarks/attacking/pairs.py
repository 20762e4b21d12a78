"""Two programs at once in one folder, and data that vanish while they are read."""

import shutil
import time
from pathlib import Path

from attacking import endings
from attacking.damage import Rng
from attacking.samples import Samples
from attacking.tally import Tally

DEFAULT = 40


def attack(count: int, rng: Rng, samples: Samples, work: Path, tally: Tally) -> None:
    """Disturb ``count`` times: two of three by a second program, the others by a lost disk."""
    jobs = endings.jobs(samples)
    for number in range(count):
        cwd = endings.settled(work, number)
        if number % 3:
            _two(jobs[number % len(jobs)], cwd, rng, tally)
        else:
            _unmounted(samples, cwd, rng, tally)
        endings.gone(cwd)


def _two(job: endings.Job, cwd: Path, rng: Rng, tally: Tally) -> None:
    what = f"two {job.name}"
    one = job.start(cwd)
    time.sleep(float(rng.choice([0.0, 0.0, 0.1, 0.5, 1.0])) * job.seconds)
    other = job.start(cwd)
    ends = [one.wait(), other.wait()]
    what += f": codes {[end.code for end in ends]}"
    if not all(endings.judge(end, what, tally) for end in ends):
        return
    if all(end.failed for end in ends):
        tally.add("lost", f"{what}: neither finished: {[end.said[-300:] for end in ends]}")
    elif job.made(cwd) != job.expected:
        tally.add("wrong", f"{what}: what they made is not what one makes")
    elif job.finish(cwd, what, tally):
        tally.add("refused" if any(end.failed for end in ends) else "survived", what)


def _unmounted(samples: Samples, cwd: Path, rng: Rng, tally: Tally) -> None:
    """The raw folder goes away while it is prepared, comes back, and the command is given again."""
    raw = cwd.parent / "raw"
    shutil.copytree(samples.cremad, raw, copy_function=shutil.copy2)
    arguments = ("data=cremad", f"data.root={raw}", "data.store=out", "workers=2")
    job = endings.Job("prepare.py", arguments, endings.stored)
    job.expected = endings.stored(samples.folder, "store")
    started = job.start(cwd)
    time.sleep(float(rng.uniform(0.2, 6.0)))
    raw.rename(cwd.parent / "elsewhere")
    ended = started.wait()
    (cwd.parent / "elsewhere").rename(raw)
    what = f"the raw folder went away: code {ended.code}"
    if not endings.judge(ended, what, tally):
        return
    if ended.code == 0 and job.made(cwd) != job.expected:
        tally.add("lost", f"{what}: finished without the clips: {ended.said[-600:]}")
    elif job.finish(cwd, what, tally):
        tally.add("refused" if ended.failed else "survived", what)
