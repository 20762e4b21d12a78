"""The table of what each method keeps when a modality is missing, from ``study.py missing``."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from running.contrasts import contrasts
from running.markdown import line, p_value, percent, plus_minus

_BASELINE = "none"


def missing_table(kept: Mapping[str, Any]) -> str:
    """A row per method: all modalities there, each one missing, and one missing on average.

    Args:
        kept: What ``studies/missing.py`` keeps. A row without all seeds of the baseline is left
            out.
    """
    modalities: Sequence[str] = kept["modalities"]
    seeds = kept["rows"][_BASELINE]["seeds"]
    rows = {name: row for name, row in kept["rows"].items() if row["seeds"] == seeds}
    everything = " + ".join(modalities)
    without = {m: " + ".join(x for x in modalities if x != m) for m in modalities}
    missing = {name: _by_seed(row, [*without.values()], seeds) for name, row in rows.items()}
    compared = contrasts(missing, _BASELINE)
    head = ["method", "all there", *(f"{m} missing" for m in modalities), "one missing"]
    lines = [
        line([*head, "to joint training", "p (Holm)", "verdict"]),
        line(["---", *["---:"] * (len(head) + 1), "---"]),
    ]
    for name in sorted(rows, key=lambda name: -sum(missing[name].values())):
        shares = [rows[name]["accuracy"][of] for of in (everything, *without.values())]
        cells = [*map(percent, [*shares, [*missing[name].values()]])]
        against = ["", "", ""]
        if name in compared:
            of = compared[name]
            against = [plus_minus(of.difference), p_value(of.p), of.verdict()]
        lines.append(line([rows[name]["title"], *cells, *against]))
    return "\n".join(
        [
            *lines,
            "",
            f"{len(seeds)} seeds, test accuracy in %, last epoch, mean ± 95 % t interval. One "
            "missing: the mean of the columns before it, by",
            "which rows are ordered. To joint training: its paired difference in points, with "
            "intervals that hold for all rows at once (Bonferroni).",
        ]
    )


def _by_seed(
    row: Mapping[str, Any], subsets: Sequence[str], seeds: Sequence[int]
) -> dict[int, float]:
    values = np.mean([row["accuracy"][subset] for subset in subsets], axis=0)
    return dict(zip(seeds, values.tolist(), strict=True))
