"""SIGKILL at any moment: to a program, to all its processes, or to one of its workers."""

import time
from pathlib import Path

from attacking import endings
from attacking.damage import Rng
from attacking.samples import Samples
from attacking.tally import Tally

DEFAULT = 100
_IN_A_ROW = 3


def attack(count: int, rng: Rng, samples: Samples, work: Path, tally: Tally) -> None:
    """Kill ``count`` times, up to three times in a row before the work may end."""
    jobs, killed, chain = endings.jobs(samples), 0, 0
    while killed < count:
        job = jobs[chain % len(jobs)]
        cwd, chain = endings.settled(work, chain), chain + 1
        times, well = 0, True
        what = f"chain {chain} of {job.name}"
        for _ in range(min(int(rng.integers(1, _IN_A_ROW + 1)), count - killed)):
            whom = str(rng.choice(["program", "group", "worker"]))
            started = job.start(cwd)
            time.sleep(endings.moment(job, rng))
            hit = started.kill(endings.KILL, whom)
            killed, times = killed + 1, times + 1
            what += f", {whom} killed" if hit else ", too late"
            ended = started.wait()
            well = endings.judge(ended, what, tally) and endings.none_left(started, what, tally)
            if not well:
                break
        if well and job.finish(cwd, what, tally):
            tally.add("survived", what, times)
        endings.gone(cwd)
