"""LitData and WebDataset as the shards of a prepared store: exactness, speed, memory, needs.

Prints one JSON object, and a few lines for people on stderr:

    python benchmarks/formats.py [--quick] [--clips 256] [--rounds 5]

``litdata`` and ``webdataset`` are those packages used as they are meant to be; ``indexed`` is this
library: WebDataset's files, read at the places that its own index names. See README.md here.
"""

import argparse
import importlib.metadata
import json
import logging
import multiprocessing
import re
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from inforeg_lightning.data.shards import ShardSampler
from measuring.interleave import quartiles
from measuring.streamed import FORMATS, loader, process_of, rows_of, write, write_store


def epochs(made: Any, count: int) -> list[list[list[int]]]:
    """Rows by epoch and batch."""
    seen = []
    for epoch in range(count):
        if isinstance(getattr(made, "sampler", None), ShardSampler):
            made.sampler.set_epoch(epoch)
        seen.append([rows_of(batch) for batch in made])
    return seen


def exactness(place: Callable[[str], Path], clips: int, batch: int) -> dict[str, Any]:
    """What becomes of every clip, for 1 to 3 ranks with 0 and 2 workers each."""
    kinds: dict[str, tuple[str, dict[str, Any]]] = {
        "litdata, drop_last=True": ("litdata", {"drop_last": True}),
        "litdata, drop_last=False": ("litdata", {"drop_last": False}),
        "webdataset": ("webdataset", {}),
        "indexed": ("indexed", {}),
    }
    found: dict[str, Any] = {}
    for kind, (name, options) in kinds.items():
        found[kind] = []
        for ranks, workers in ((r, w) for r in (1, 2, 3) for w in (0, 2)):
            by_rank = []
            for rank in range(ranks):
                with process_of(rank, ranks):
                    made = loader(name, place(name), batch, workers, rank, ranks, **options)
                    by_rank.append(epochs(made, 1)[0])
            seen = Counter(row for batches in by_rank for rows in batches for row in rows)
            found[kind].append(
                {
                    "ranks": ranks,
                    "workers": workers,
                    "missed": clips - len(seen),
                    "twice": sum(count - 1 for count in seen.values()),
                    "batches_by_rank": [len(batches) for batches in by_rank],
                }
            )
    return found


def order(place: Callable[[str], Path], batch: int) -> dict[str, Any]:
    """Whether the order changes by epoch, is repeatable, and can be taken up within an epoch."""
    found = {}
    for name in FORMATS:
        with process_of(0, 1):
            one, other = (epochs(loader(name, place(name), batch, 0, 0, 1), 2) for _ in "ab")
            four, two = (epochs(loader(name, place(name), batch, w, 0, 1), 1) for w in (4, 2))
            resumed: Any = "has no state"
            made = loader(name, place(name), batch, 0, 0, 1)
            if hasattr(made, "state_dict"):
                again = loader(name, place(name), batch, 0, 0, 1)
                partial = iter(made)
                before = [rows_of(next(partial)) for _ in range(5)]
                again.load_state_dict(made.state_dict())
                rest = [rows_of(b) for b in again]
                flat = sorted(row for rows in before + rest for row in rows)
                resumed = flat == sorted(row for rows in one[0] for row in rows)
        found[name] = {
            "changes_by_epoch": one[0] != one[1],
            "repeatable": one == other,
            "the_same_for_2_and_4_workers": four == two,
            "resumes_within_an_epoch": resumed,
        }
    return found


def speed(place: Callable[[str], Path], batch: int, rounds: int) -> dict[str, Any]:
    """Training samples (three of eight raw frames, and sound) a CPU-second, from the page cache."""
    rates: dict[str, list[float]] = {name: [] for name in FORMATS}
    with process_of(0, 1):
        made = {name: loader(name, place(name), batch, 0, 0, 1) for name in FORMATS}
        for turn in range(rounds + 1):
            for name in FORMATS:
                started = time.process_time()
                count = sum(len(rows) for rows in epochs(made[name], 1)[0])
                if turn:  # the first fills the page cache
                    rates[name].append(count / (time.process_time() - started))
    return {name: quartiles(found) for name, found in rates.items()}


def private_bytes() -> int:
    text = Path("/proc/self/smaps_rollup").read_text()
    return 1024 * sum(int(kb) for kb in re.findall(r"^Private_\w+:\s+(\d+)", text, re.MULTILINE))


def remember(name: str, place: Path, batch: int, results: Any) -> None:
    with process_of(0, 1):
        before, made, after = private_bytes(), loader(name, place, batch, 0, 0, 1), []
        for _ in range(3):
            epochs(made, 1)
            after.append(private_bytes() - before)
    results.put(after)


def memory(place: Callable[[str], Path], batch: int) -> dict[str, list[int]]:
    """Private bytes beyond those before, after each of three epochs in a process of its own."""
    found, context = {}, multiprocessing.get_context("spawn")
    for name in FORMATS:
        results = context.Queue()
        process = context.Process(target=remember, args=(name, place(name), batch, results))
        process.start()
        found[name] = results.get()
        process.join()
    return found


def over_http(folder: Path, batch: int) -> dict[str, str]:
    """Whether an epoch can be read from ``python -m http.server``, and what is said if not."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen(command, cwd=folder, **quiet) as server, process_of(0, 1):
        url = re.search(r"http://\S+:\d+", server.stdout.readline())[0]
        count = len(list((folder / "webdataset").glob("*.tar")))
        places = {name: f"{url}/{name}" for name in FORMATS}
        places["webdataset"] += f"/shard-{{000000..{count - 1:06d}}}.tar"
        found = {}
        for name, place in places.items():
            options = {"cache": folder / "cache"} if name == "indexed" else {}
            try:
                made = loader(name, place, batch, 0, 0, 1, **options)
                found[name] = f"read {sum(map(len, epochs(made, 1)[0]))} clips"
            except Exception as error:
                found[name] = type(error).__name__  # the message names a folder of this machine
        server.terminate()
    return found


def needs(package: str, seen: Iterable[str] = ()) -> set[str]:
    """A package and all that it depends on, without torch and what torch needs."""
    found = {*seen, package}
    for line in importlib.metadata.requires(package) or ():
        name = re.match(r"[\w.-]+", line)[0].lower().replace("_", "-")
        if "extra ==" not in line and name not in {*found, "torch", "torchvision", "numpy"}:
            try:
                found |= needs(name, found)
            except importlib.metadata.PackageNotFoundError:  # for another platform
                continue
    return found


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    write_store(folder / "small.store", args.small, (24, 32))
    write_store(folder / "large.store", args.clips, (256, 341))
    (folder / "small").mkdir()
    (folder / "large").mkdir()
    write(folder / "small.store", folder / "small", 2)

    def small(name: str) -> Path:
        return folder / "small" / name

    def large(name: str) -> Path:
        return folder / "large" / name

    return {
        "write": write(folder / "large.store", folder / "large", 32),
        "exactness": exactness(small, args.small, args.batch),
        "order": order(small, args.batch),
        "samples_per_cpu_second": speed(large, args.batch, args.rounds),
        "private_bytes_after_epochs": memory(large, args.batch),
        "http": over_http(folder / "small", args.batch),
        "packages": {name: sorted(needs(name)) for name in ("litdata", "webdataset")},
        "versions": {name: importlib.metadata.version(name) for name in ("litdata", "webdataset")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=256, help="to time, 2.1 MB each (256)")
    parser.add_argument("--small", type=int, default=251, help="to count (default 251)")
    parser.add_argument("--batch", type=int, default=16, help="of the loaders (default 16)")
    parser.add_argument("--rounds", type=int, default=5, help="of the timing (default 5)")
    parser.add_argument("--quick", action="store_true", help="to see that it runs")
    args = parser.parse_args()
    if args.quick:
        args.clips, args.small, args.rounds = 32, 101, 1
    torch.set_num_threads(1)
    logging.getLogger("litdata").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")  # of the packages compared
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, Path(folder))
    wall = time.perf_counter() - start
    result["settings"] = {**vars(args), "torch": torch.__version__, "wall_seconds": wall}
    print(json.dumps(result, indent=1))
    for name, rate in result["samples_per_cpu_second"].items():
        print(f"{name}: {rate['median']:.0f} samples a CPU-second", file=sys.stderr)


if __name__ == "__main__":
    main()
