"""Where each window opens and closes on simulated traces, beside what is right by construction.

Prints one JSON object, and a few lines for people on stderr:

    python benchmarks/windows.py > benchmarks/results/windows.json

A trace is simulated with what is learnt in each period (``measuring/traces.py``). A window is
right on it if it is open while at least half of that is learnt, shut once 99 % of it is, and does
not flicker. What fails first is told: it ``never opens``; it closes ``too soon``; it is open in
more than a tenth of the periods after 99 % (``too late``); or it opens again more than once
(``flickers``).
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping
from statistics import median
from typing import Any

import numpy as np

from inforeg_lightning.core.window import (
    AdaptiveWindow,
    OfficialWindow,
    PaperWindow,
    Traces,
    Window,
)
from measuring.traces import SHAPES, Trace, draw

NOISES = (0.0, 0.1, 0.3, 0.6)


def of_medians(traces: Traces) -> Mapping[str, bool]:
    """The adaptive window on the median of each trace and the two before: a mend that was tried."""
    medians = {
        m: [median(trace[max(t - 2, 0) : t + 1]) for t in range(len(trace))]
        for m, trace in traces.items()
    }
    return AdaptiveWindow()(medians)


WINDOWS: Mapping[str, Window] = {
    "paper": PaperWindow(),
    "official": OfficialWindow("m"),
    "adaptive": AdaptiveWindow(),
    "adaptive, of medians": of_medians,
}
RIGHT = "right"
OUTCOMES = (RIGHT, "never opens", "too soon", "too late", "flickers")
HALF, ALL, LATE, AGAIN = 0.5, 0.99, 0.1, 1


def opened(window: Window, trace: Trace) -> list[bool]:
    """Whether the window is open in each period, by the traces of those before."""
    seen = trace.seen.tolist()
    return [window({"m": seen[:period]})["m"] for period in range(len(seen))]


def outcome(is_open: list[bool], trace: Trace) -> str:
    """What is wrong with a window on a trace, or that nothing is."""
    open_in = np.array(is_open)
    if not open_in.any():
        return "never opens"
    if trace.learnt[open_in].sum() < HALF:
        # A window that flickers away the half that counts is one that flickers.
        return "flickers" if _openings(is_open) > 1 + AGAIN else "too soon"
    # The share that is learnt before each period: once it is `ALL`, there is nothing left to hold.
    after = np.cumsum(trace.learnt) - trace.learnt >= ALL
    if after.any() and open_in[after].mean() > LATE:
        return "too late"
    return "flickers" if _openings(is_open) > 1 + AGAIN else RIGHT


def measure(traces: int) -> dict[str, Any]:
    """Every window on every shape and noise.

    Args:
        traces: Of each shape and noise.
    """
    found: dict[str, Any] = {}
    for index, shape in enumerate(SHAPES):
        of: dict[str, Any] = {name: {"by noise": {}} for name in WINDOWS}
        every: dict[str, Counter[str]] = {name: Counter() for name in WINDOWS}
        covered: dict[str, list[float]] = {name: [] for name in WINDOWS}
        for noise in NOISES:
            for number in range(traces):
                trace = draw(shape, noise, np.random.default_rng([index, number]))
                for name, window in WINDOWS.items():
                    is_open = opened(window, trace)
                    said = outcome(is_open, trace)
                    every[name][said] += 1
                    right = of[name]["by noise"]
                    right[f"{noise:g}"] = right.get(f"{noise:g}", 0) + (said == RIGHT)
                    covered[name].append(float(trace.learnt[np.array(is_open)].sum()))
        for name in WINDOWS:
            of[name] |= {
                "outcomes": {o: every[name][o] for o in OUTCOMES if every[name][o]},
                "learnt while open": round(float(np.mean(covered[name])), 3),
            }
        found[shape] = of
    return found


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--traces", type=int, default=20, help="per shape and noise (default 20)")
    parser.add_argument("--quick", action="store_true", help="one of each, to see that it runs")
    args = parser.parse_args()
    traces = 1 if args.quick else args.traces
    found = measure(traces)
    number = traces * len(NOISES) * len(SHAPES)
    print(json.dumps({"traces": number, "per noise": traces, "shapes": found}, indent=1))
    for name in WINDOWS:
        right = sum(of[name]["outcomes"].get(RIGHT, 0) for of in found.values())
        print(f"{name}: right on {right} of {number}", file=sys.stderr)


def _openings(is_open: list[bool]) -> int:
    return sum(now and not before for before, now in zip([False, *is_open], is_open, strict=False))


if __name__ == "__main__":
    main()
