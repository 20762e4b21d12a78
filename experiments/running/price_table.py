"""The table of what a step of each method costs, from ``benchmarks/results``."""

from collections.abc import Mapping
from typing import Any


def price_table(measured: Mapping[str, Any]) -> str:
    """A row per method, the cheapest first: the median and the quartiles.

    Args:
        measured: What ``benchmarks/overhead.py --methods`` wrote.
    """
    network = measured["resnet18"]
    prices = {name: ratio["cpu"] for name, ratio in network["ratio_to_joint"].items()}
    pairs = {price["n"] for price in prices.values()}
    lines = ["| method | step / joint step | quartiles |", "|---|---:|---:|"]
    for name, price in sorted(prices.items(), key=lambda item: float(item[1]["median"])):
        lines.append(f"| {name} | {price['median']:.2f} | {price['q1']:.2f} to {price['q3']:.2f} |")
    lines += ["", f"{min(pairs)} pairs each."]
    return "\n".join(lines)
