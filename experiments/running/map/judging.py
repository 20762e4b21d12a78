"""What follows from the map's numbers: gains, verdicts, and what a position is worth."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from inforeg_lightning.report import mean_interval
from running.map.placing import COORDINATES, DIAGNOSIS, NEAREST, place
from running.map.remedies import JOINT, REMEDIES

HARM = -0.3
"""Points; below it a remedy does harm in a cell."""
LEAST = 1.0
"""Points that a verdict needs besides its test."""


def gains(accuracy: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Remedy -> difference to joint training in points, per seed."""
    joint = accuracy[JOINT]
    return {
        row: [100 * (x - base) for x, base in zip(accuracy[row], joint, strict=True)]
        for row in REMEDIES
    }


def with_gains(cells: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The cells with the mean gain of each remedy, and their mean positions."""
    return {
        name: {
            **{kind: _means(of[kind]) for kind in COORDINATES if kind in of},
            "gains": _means(gains(of["accuracy"])),
        }
        for name, of in cells.items()
    }


def common(cells: Mapping[str, Any]) -> dict[str, Any]:
    """The cells with the seeds that all of them have: a map may be under way."""
    fewest = min((len(of["accuracy"][JOINT]) for of in cells.values()), default=0)
    return {
        name: {p: {k: x[:fewest] for k, x in of[p].items()} for p in of}
        for name, of in cells.items()
    }


def judge(content: Mapping[str, Any]) -> dict[str, Any]:
    """The decisions of the protocol, from the numbers of all cells."""
    whole = common(content["cells"])
    cells = with_gains(whole)
    by_seed = {name: gains(of["accuracy"]) for name, of in whole.items()}
    table = np.array([of["diagnosis"]["left on the table"] for of in cells.values()])
    seeds = len(next(iter(whole.values()))["accuracy"][JOINT])
    found: dict[str, Any] = {"cells": len(cells), "seeds": seeds, "remedies": {}}
    for remedy in REMEDIES:
        differences = [by_seed[name][remedy] for name in cells]
        means = np.array([cells[name]["gains"][remedy] for name in cells])
        verdicts = _verdicts(differences)
        worst = min(cells, key=lambda name: cells[name]["gains"][remedy])
        found["remedies"][remedy] = {
            "mean": round(float(means.mean()), 2),
            "gains": verdicts.count("gains"),
            "harms": verdicts.count("harms"),
            "below the bound": int((means < HARM).sum()),
            "worst": round(float(means.min()), 2),
            "worst cell": worst,
            "interval there": _interval(by_seed[worst][remedy]),
            "best": round(float(means.max()), 2),
            "correlation with the table": _correlation(means, table),
        }
    # Of fewer there are no others to predict them from.
    kinds = COORDINATES if len(cells) > NEAREST else ()
    found["left out"] = {kind: _left_out(cells, kind) for kind in kinds}
    if "elsewhere" in content:
        worlds = with_gains(
            {n: {"accuracy": of["accuracy"]} for n, of in content["elsewhere"].items()}
        )
        for name, of in worlds.items():
            of[DIAGNOSIS] = content["elsewhere"][name][DIAGNOSIS]
        found["elsewhere"] = _elsewhere(cells, worlds)
    return found


def verdicts(cells: Mapping[str, Any], remedy: str) -> dict[str, str]:
    """Cell -> ``"gains"``, ``"harms"`` or ``"undecided"``, corrected over the cells."""
    differences = [gains(of["accuracy"])[remedy] for of in common(cells).values()]
    return dict(zip(cells, _verdicts(differences), strict=True))


def _means(values: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: round(float(np.mean(x)), 5) for name, x in values.items()}


def _verdicts(differences: Sequence[Sequence[float]]) -> list[str]:
    from statsmodels.stats.multitest import multipletests

    adjusted = multipletests([_p(x) for x in differences], method="holm")[1]
    said = []
    for x, p in zip(differences, adjusted, strict=True):
        mean = float(np.mean(x))
        is_sure = p < 0.05 and abs(mean) >= LEAST
        said.append(("gains" if mean > 0 else "harms") if is_sure else "undecided")
    return said


def _p(differences: Sequence[float]) -> float:
    if len(differences) < 2 or np.ptp(differences) == 0:  # no spread, of which the test would warn
        return 1.0
    return float(stats.ttest_1samp(differences, 0.0).pvalue)


def _correlation(one: Any, other: Any) -> float:
    """Spearman's; none where there is no order."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return round(float(stats.spearmanr(one, other)[0]), 3)


def _interval(values: Sequence[float]) -> list[float]:
    found = mean_interval(values)
    ends = (found.mean, found.low, found.high)
    return [round(found.mean if end is None else end, 2) for end in ends]


def _left_out(cells: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Predict each cell from the others."""
    predicted, plain = {}, {}
    for name in cells:
        others = {n: of for n, of in cells.items() if n != name}
        predicted[name] = place(cells[name][kind], others, kind).gains
        plain[name] = _mean_gains(others)
    return _compared(cells, predicted, plain)


def _elsewhere(cells: Mapping[str, Any], worlds: Mapping[str, Any]) -> dict[str, Any]:
    """Predict worlds that are on no map, from their diagnoses."""
    placed = {name: place(of[DIAGNOSIS], cells) for name, of in worlds.items()}
    plain = dict.fromkeys(worlds, _mean_gains(cells))
    on = {name: of for name, of in worlds.items() if not placed[name].is_off}
    predicted = {name: found.gains for name, found in placed.items()}
    found = {"all": _compared(worlds, predicted, plain), "off the map": len(worlds) - len(on)}
    return found | ({"on the map": _compared(on, predicted, plain)} if on else {})


def _compared(
    true: Mapping[str, Any],
    predicted: Mapping[str, Mapping[str, float]],
    plain: Mapping[str, Mapping[str, float]],
) -> dict[str, Any]:
    """What predictions are worth, beside those of one answer for all."""

    def error(of: Mapping[str, Mapping[str, float]]) -> float:
        misses = [abs(of[n][r] - true[n]["gains"][r]) for n in true for r in REMEDIES]
        return round(float(np.mean(misses)), 2)

    def regret(of: Mapping[str, Mapping[str, float]]) -> list[float]:
        """Median and mean of what the advised remedy loses to the best, joint training included."""
        lost = []
        for name in true:
            known = true[name]["gains"] | {JOINT: 0.0}
            advised = max(of[name] | {JOINT: 0.0}, key=lambda row: (of[name] | {JOINT: 0.0})[row])
            lost.append(max(known.values()) - known[advised])
        return [round(float(np.median(lost)), 2), round(float(np.mean(lost)), 2)]

    return {
        "error": error(predicted),
        "error of one answer": error(plain),
        "regret": regret(predicted),
        "regret of one answer": regret(plain),
        "regret of joint training": regret({n: dict.fromkeys(REMEDIES, -1.0) for n in true}),
    }


def _mean_gains(cells: Mapping[str, Any]) -> dict[str, float]:
    return {r: float(np.mean([of["gains"][r] for of in cells.values()])) for r in REMEDIES}
