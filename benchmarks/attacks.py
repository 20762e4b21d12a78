"""Thousands of hostile inputs to the programs and the library: is anything lost, falsified, let in?

Prints a table of what became of them, writes it with examples as JSON, and ends with 1 if anything
was lost, wrong or a traceback:

    python benchmarks/attacks.py [--quick] [--scale 1.0] [--seed 0] [--only media kills]

Every family stands in ``attacking/`` in a module of its own and runs in a process of its own, two
at a time. The same seed gives the same inputs, but for the moments at which programs are killed.
"""

import argparse
import importlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import Any

# The longest first, so that two at a time end together.
FAMILIES = (
    "kills",
    "commands",
    "pairs",
    "signals",
    "media",
    "run_folders",
    "names",
    "flips",
    "faulty_http",
    "hostile_server",
    "lists",
    "files",
)
RESULTS = Path(__file__).parent / "results" / "attacks.json"
_COLUMNS = ("tried", "refused", "survived", "lost", "wrong", "traceback")
_BAD = _COLUMNS[3:]
_MOST_MEMORY = 6 * 10**9  # bytes for each process, many times what any of them needs


def main() -> int:
    """Attack, print, write; 1 if anything happened that must not."""
    args = _arguments()
    if args.family:
        return _one_family(args)
    with tempfile.TemporaryDirectory(prefix="attacks-") as folder:
        started = time.monotonic()
        print("making healthy samples ...", file=sys.stderr, flush=True)
        # In two processes: one that has started workers of its own cannot be forked into programs.
        for step in ("samples", "measure"):
            _itself(args, "--family", step, "--work", folder)
        with ThreadPoolExecutor(args.processes) as pool:
            found = dict(
                zip(args.only, pool.map(lambda name: _in_a_process(name, args, folder), args.only),
                    strict=True)
            )  # fmt: skip
        seconds = time.monotonic() - started
    print(table(found))
    bad = sum(of[column] for of in found.values() for column in _BAD)
    out = args.out or (None if args.quick or args.only != list(FAMILIES) else RESULTS)
    if out is not None:
        out.write_text(json.dumps(_json(found, args, seconds), indent=1, ensure_ascii=False) + "\n")
    for name, of in found.items():
        for outcome, examples in of["examples"].items():
            for example in examples[: args.examples]:
                print(f"\n[{name}, {outcome}] {example}", file=sys.stderr)
    return int(bad > 0)


def table(found: dict[str, dict[str, Any]]) -> str:
    """What became of the inputs of each family, in Markdown."""
    rows = [[name, *(of[column] for column in _COLUMNS)] for name, of in found.items()]
    rows.append(["all", *(sum(of[column] for of in found.values()) for column in _COLUMNS)])
    lines = [f"| {'family':<14} | " + " | ".join(f"{c:>9}" for c in _COLUMNS) + " |"]
    lines.append(f"|{'-' * 16}|" + "|".join(f"{'-' * 10}:" for _ in _COLUMNS) + "|")
    lines += [f"| {row[0]:<14} | " + " | ".join(f"{n:>9,}" for n in row[1:]) + " |" for row in rows]
    return "\n".join(lines)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--only",
        nargs="+",
        choices=FAMILIES,
        default=list(FAMILIES),
        metavar="NAME",
        help=f"families: {', '.join(FAMILIES)}",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the inputs (default 0)")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the number of inputs")
    parser.add_argument("--quick", action="store_true", help="a hundredth, to see that it runs")
    parser.add_argument("--processes", type=int, default=2, help="families at a time (default 2)")
    parser.add_argument("--examples", type=int, default=3, help="bad ones to print of each kind")
    parser.add_argument("--out", type=Path, help=f"JSON (default for a full run: {RESULTS.name})")
    parser.add_argument("--family", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.scale = 0.01 if args.quick else args.scale
    return args


def _itself(args: argparse.Namespace, *more: str) -> str:
    command = [
        sys.executable,
        __file__,
        "--seed",
        str(args.seed),
        "--scale",
        str(args.scale),
        *more,
    ]
    root = Path(__file__).parents[1]
    path = os.pathsep.join(filter(None, [str(root / "src"), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"code {done.returncode}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout


def _in_a_process(name: str, args: argparse.Namespace, folder: str) -> dict[str, Any]:
    """One family; if its process dies, that is a traceback as well."""
    started = time.monotonic()
    try:
        printed = _itself(args, "--family", name, "--work", folder)
        found: dict[str, Any] = json.loads(printed.splitlines()[-1])
    except RuntimeError as error:
        found = dict.fromkeys(_COLUMNS, 0) | {"tried": 1, "traceback": 1}
        found["examples"] = {"traceback": [f"the family's own process: {error}"]}
    found["seconds"] = round(time.monotonic() - started)
    line = ", ".join(f"{column} {found[column]}" for column in _COLUMNS)
    print(f"{name}: {line} ({found['seconds']} s)", file=sys.stderr, flush=True)
    return found


def _one_family(args: argparse.Namespace) -> int:
    import numpy as np

    from attacking.samples import Samples
    from attacking.tally import Tally

    samples = Samples(args.work / "samples")
    if args.family == "samples":
        samples.build()
        return 0
    if args.family == "measure":
        importlib.import_module("attacking.endings").measure(samples)
        return 0
    # What would take all memory is to fail in its own process, not to end others' on this machine.
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))
    family = importlib.import_module(f"attacking.{args.family}")
    rng = np.random.default_rng([args.seed, FAMILIES.index(args.family)])
    tally = Tally()
    count = max(round(family.DEFAULT * args.scale), 1)
    family.attack(count, rng, samples, args.work / args.family, tally)
    print(json.dumps(tally.to_json()))
    return 0


def _json(found: dict[str, Any], args: argparse.Namespace, seconds: float) -> dict[str, Any]:
    return {
        "families": found,
        "all": {column: sum(of[column] for of in found.values()) for column in _COLUMNS},
        "settings": {
            "seed": args.seed,
            "scale": args.scale,
            "wall_seconds": round(seconds),
            "python": platform.python_version(),
            **{name: version(name) for name in ("torch", "lightning", "av", "numpy")},
        },
    }


if __name__ == "__main__":
    sys.exit(main())
