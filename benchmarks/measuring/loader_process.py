"""What a loader process costs: its memory, and the CPU time of batches that come through it."""

import multiprocessing
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader

from measuring.interleave import quartiles

Batch = Mapping[str, Tensor]


def epoch(loader: DataLoader[Batch], number: int) -> int:
    """Go through all batches, holding none; how many samples there were."""
    if hasattr(loader.sampler, "set_epoch"):
        loader.sampler.set_epoch(number)
    samples = 0
    for batch in loader:
        samples += len(batch["label"])
        del batch
    return samples


def memory(loader: DataLoader[Batch], passes: int) -> dict[str, Any]:
    """Memory of its one process after the first pass over the clips, and after each of 3 epochs.

    Batches are shared memory: PSS has half of one that both processes hold, USS none of it.

    Args:
        loader: With one persistent worker.
        passes: Over the clips, in what is called an epoch here.
    """
    after: list[dict[str, int] | None] = []
    for number in range(1 + 3 * passes):
        before = multiprocessing.active_children() if number else []
        epoch(loader, number)
        if number % passes == 0:
            (worker,) = before or multiprocessing.active_children()
            after.append(resident(worker.pid))
    return {
        "samples_an_epoch": passes * len(loader.dataset),
        "after_epoch": after,  # the first: after one pass
        "growth": after[3]["uss"] / after[1]["uss"] - 1 if after[1] and after[3] else None,
    }


def resident(pid: int | None) -> dict[str, int] | None:
    """PSS and USS in bytes; ``None`` where the system does not say."""
    file = Path(f"/proc/{pid}/smaps_rollup")
    if not file.exists():
        return None
    lines = [line.split() for line in file.read_text().splitlines()[1:]]
    sizes = {words[0].rstrip(":"): 1024 * int(words[1]) for words in lines}
    return {"pss": sizes["Pss"], "uss": sizes["Private_Clean"] + sizes["Private_Dirty"]}


def handed_over(
    loaders: Mapping[str, DataLoader[Batch]], base: str, rounds: int, repeats: Mapping[str, int]
) -> dict[str, Any]:
    """Samples a second of CPU time of the loader process and of this one together.

    Args:
        loaders: Each with one persistent worker.
        base: Which of them the others are compared with, round by round.
        rounds: How many, after a first one that starts the processes.
        repeats: Epochs a round of those that are too fast for one.
    """
    rates: dict[str, list[float]] = {name: [] for name in loaders}
    workers: dict[str, int] = {}
    for number in range(rounds + 1):
        for name, loader in loaders.items():
            before = {child.pid for child in multiprocessing.active_children()}
            start = time.process_time() + _cpu_seconds(workers.get(name))
            samples = sum(epoch(loader, number) for _ in range(repeats.get(name, 1)))
            if number:
                end = time.process_time() + _cpu_seconds(workers[name])
                rates[name].append(samples / (end - start))
            else:
                children = {child.pid for child in multiprocessing.active_children()}
                (workers[name],) = children - before
    ratios = {
        name: quartiles([mine / other for mine, other in zip(found, rates[base], strict=True)])
        for name, found in rates.items()
    }
    return {
        "samples_per_cpu_second": {name: quartiles(found) for name, found in rates.items()},
        "ratio_to_published": ratios,
    }


def _cpu_seconds(pid: int | None) -> float:
    if pid is None:
        return 0.0
    # After the name, which may hold spaces: utime and stime are fields 14 and 15.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
