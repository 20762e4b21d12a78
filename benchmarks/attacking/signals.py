"""SIGTERM, SIGINT and SIGHUP at any moment: one line, a code that is not 0, and it goes on."""

import time
from pathlib import Path

from attacking import endings
from attacking.damage import Rng
from attacking.samples import Samples
from attacking.tally import Tally

DEFAULT = 48


def attack(count: int, rng: Rng, samples: Samples, work: Path, tally: Tally) -> None:
    """Send ``count`` signals, to a program alone or to all its processes, as a terminal does."""
    jobs = endings.jobs(samples)
    for number in range(count):
        job, cwd = jobs[number % len(jobs)], endings.settled(work, number)
        signal = [endings.TERMINATE, endings.INTERRUPT, endings.HANG_UP][number // len(jobs) % 3]
        whom = str(rng.choice(["program", "group"]))
        started = job.start(cwd)
        # From a third of it on: before, it is Python that starts, and not yet the program.
        time.sleep(float(rng.uniform(0.3, 1.0)) * job.seconds)
        hit = started.kill(signal, whom)
        what = f"{signal.name} to the {whom} of {job.name}" + ("" if hit else ", too late")
        ended = started.wait()
        well = endings.judge(ended, what, tally) and endings.none_left(started, what, tally)
        finished = ended.code == 0 and job.made(cwd) == job.expected
        if well and ended.code == 0 and not finished:
            tally.add("wrong", f"{what}: code 0, though it is not finished: {ended.said[-400:]}")
        elif well and job.finish(cwd, what, tally):
            tally.add("survived" if finished else "refused", what)
        endings.gone(cwd)
