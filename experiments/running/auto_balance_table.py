"""AutoBalance's confirmation as Markdown: its table, and the verdicts of its protocol."""

from collections.abc import Mapping
from textwrap import fill
from typing import Any

from inforeg_lightning.report import Interval, mean_interval, paired_difference
from running import markdown

_STARVING = {"av_digits": 15.0, "av_mnist_speakers": 18.0, "av_mnist_speakers_swapped": 18.0}
"""Set -> points over joint training at which the primary hypothesis is reached."""
_TITLES = {
    "av_digits": "AV-Digits",
    "av_mnist_speakers": "AV-MNIST, four speakers",
    "av_mnist_speakers_swapped": "AV-MNIST, speakers swapped",
    "views": "six views",
}
_OTHERS = {"unimodal_losses": "unimodal losses", "dgl": "DGL"}
_STILL = -0.3
_BESIDE = 0.5

Runs = Mapping[str, Mapping[Any, float]]
"""Row -> seed, or world and seed -> test accuracy in %."""


def table(kept: Mapping[str, Any], worlds: Mapping[str, Any]) -> str:
    """Joint training, and what each remedy adds to it, by set and by family of worlds.

    Args:
        kept: The runs, as ``results/auto_balance.json`` has them.
        worlds: World -> row -> seed -> test accuracy, as ``results/auto_balance_worlds.json``.
    """
    head = ["data", "joint training", "AutoBalance", *_OTHERS.values()]
    rows = [_cells(title, runs) for part, title in _TITLES.items() if (runs := _set(kept, part))]
    rows += [_cells(f"worlds: {family}", runs) for family, runs in _families(worlds).items()]
    lines = [
        *markdown.table(head, rows),
        "",
        "Test accuracy in %, last epoch, mean ± 95 % t interval; of the remedies the difference to "
        "joint training in points, paired by seed",
        "(by world and seed where the data are generated). In brackets: the number of pairs.",
    ]
    return "\n".join(lines)


def verdicts(kept: Mapping[str, Any], worlds: Mapping[str, Any]) -> str:
    """The three verdicts of the protocol, each with what it rests on."""
    said = (reached(kept), still(kept, worlds), beside(kept))
    return "\n".join(
        fill(f"{number}. {text}", 140, subsequent_indent="   ")
        for number, text in enumerate(said, 1)
    )


def reached(kept: Mapping[str, Any]) -> str:
    """Whether AutoBalance repairs joint training where a modality starves."""
    found = {part: _gain(_set(kept, part), "auto_balance") for part in _STARVING}
    told = {part: gain for part, gain in found.items() if gain is not None}
    said = _said({_TITLES[part]: gain for part, gain in told.items()})
    if len(told) < len(found):
        return f"Repairs: **not told yet**, a set is missing ({said})."
    if all(gain.mean >= _STARVING[part] for part, gain in told.items()):
        verdict = "reached"
    elif all(gain.low is not None and gain.low > 0 for gain in told.values()):
        verdict = "reached in part"
    else:
        verdict = "not here"
    return f"Repairs, by +15 points on AV-Digits and +18 on both splits: **{verdict}** ({said})."


def still(kept: Mapping[str, Any], worlds: Mapping[str, Any]) -> str:
    """Whether it keeps still where no modality starves."""
    calm: dict[str, Interval] = {}
    if (gain := _gain(_set(kept, "views"), "auto_balance")) is not None:
        calm[_TITLES["views"]] = gain
    for family, runs in _families(worlds).items():
        gain = _gain(runs, "auto_balance")
        gains = [_gain(runs, row) for row in ("auto_balance", *_OTHERS)]
        if gain is not None and all(other is None or other.mean < 1 for other in gains):
            calm[family] = gain
    lower = {name: gain for name, gain in calm.items() if gain.mean < _STILL}
    lacking = [
        name for name, of in {"six views": "views" in kept, "worlds": worlds}.items() if not of
    ]
    verdict = f"not in {len(lower)} of {len(calm)}" if lower else f"in all {len(calm)}"
    if not calm:
        verdict = "not told yet"
    said = f" ({_said(lower)})" if lower else ""
    left = f"; still missing: {', '.join(lacking)}" if lacking else ""
    return (
        f"Keeps still, at most 0.3 points lost on the six views and each family of worlds in which "
        f"no remedy gains a point: **{verdict}**{said}{left}."
    )


def beside(kept: Mapping[str, Any]) -> str:
    """Whether it stands beside unimodal losses and DGL where a modality starves."""
    found = {}
    for part in _STARVING:
        runs = _set(kept, part)
        for row, title in _OTHERS.items():
            gain = paired_difference(runs.get("auto_balance", {}), runs.get(row, {}))
            found[f"{_TITLES[part]} to {title}"] = gain
    told = {name: gain for name, gain in found.items() if gain is not None}
    behind = {name: gain for name, gain in told.items() if gain.mean < -_BESIDE}
    missing = " so far" if len(told) < len(found) else ""
    said = f" ({_said(told)})" if told else ""
    verdict = "no" if behind else "not told yet" if missing else "yes"
    return (
        "Stands beside unimodal losses and DGL, at most 0.5 points behind either: "
        f"**{verdict}**, in {len(told) - len(behind)} of {len(found)}{missing}{said}."
    )


def _set(kept: Mapping[str, Any], part: str) -> Runs:
    runs: dict[str, dict[Any, float]] = {}
    for run, tested in kept.get(part, {}).items():
        row, _, seed = run.partition(", seed ")
        runs.setdefault(row, {})[int(seed)] = 100 * tested["accuracy"]
    return runs


def _families(worlds: Mapping[str, Any]) -> dict[str, Runs]:
    """Family -> its runs."""
    found: dict[str, dict[str, dict[Any, float]]] = {}
    for name, rows in worlds.items():
        of = found.setdefault(name.rpartition("-")[0], {})
        for row, by_seed in rows.items():
            values = {(name, seed): 100 * value for seed, value in by_seed.items()}
            of.setdefault(row, {}).update(values)
    return dict(found)


def _gain(runs: Runs, row: str) -> Interval | None:
    return paired_difference(runs.get(row, {}), runs.get("none", {}))


def _cells(title: str, runs: Runs) -> list[str]:
    joint = [*runs.get("none", {}).values()]
    cells = [title, _shown(mean_interval(joint), "{:.1f}") if joint else "–"]
    for row in ("auto_balance", *_OTHERS):
        gain = _gain(runs, row)
        cells.append("–" if gain is None else _shown(gain))
    return cells


def _said(gains: Mapping[str, Interval]) -> str:
    return ", ".join(f"{name} {_shown(gain)}" for name, gain in gains.items())


def _shown(found: Interval, form: str = "{:+.1f}") -> str:
    half = "" if found.half_width is None else f" ± {found.half_width:.1f}"
    mean = round(found.mean, 1) + 0.0  # never "−0.0"
    return f"{form.format(mean)}{half} ({found.n})".replace("-", "−")
