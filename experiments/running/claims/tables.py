"""What ``claims.json`` says, as the generated parts of ``docs/evidence.md``."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from running.claims.deciding import CLAIMS, HOLDS, NOT_HERE, Decision, closed, decide, explain
from running.claims.rows import BETAS, FUSIONS, THRESHOLDS, VIEWS, WEIGHTS
from running.claims.testing import Rows, Test
from running.markdown import p_value, percent, plus_minus, points, table

_IN_PAPER = {
    "a": "Fig. 1, Table 1",
    "b": "Tables 2, 3",
    "c": "Table 4",
    "d": "Table 5",
    "e": "Table 6",
    "f": "Figs. 7, 8",
    "g": "Fig. 4",
    "h": "Fig. 5",
    "i": "Fig. 6",
}
_SCEPTIC = (
    *("joint", "shorter", "leader_slower", "audio", "image", "ensemble", "ensemble_fitted"),
    *("unimodal_losses", "unimodal_losses_shared", "dgl"),
)
"""Rows of the comparison that stand beside ours."""
_CONCAT = (
    *("joint", "joint_2x", "joint_4x", "audio", "image", "ensemble", "ensemble_fitted"),
    *("inforeg", "outside", "always", "inforeg_audio", "joint_star", "inforeg_star"),
    *("inforeg_star_audio", "auto_balance"),
)
_DEMO = {
    "joint": "",
    "inforeg": "InfoReg, as the paper has it",
    "unimodal_losses": "Unimodal losses (joint*)",
    "auto_balance": "AutoBalance",
    "audio": "",
    "image": "",
}
"""Row -> its title, where it has another one there."""


def claims_table(kept: Mapping[str, Any]) -> str:
    """One word per claim, and the tests that decided it."""
    rows: Rows = kept["rows"]
    decisions = decide(rows)
    lines = ["| claim | in the paper | here |", "|---|---|---|"]
    lines += [
        f"| {claim}: {CLAIMS[claim]} | {paper} | {_word(decisions, claim)} |"
        for claim, paper in _IN_PAPER.items()
    ]
    tests = {test.name: test for of in decisions.values() for test in of.tests}
    if tests:
        lines += ["", *(f"- {_said(tests[name])}" for name in sorted(tests)), ""]
        lines += [
            f"{_seeds(rows)} p is adjusted by Holm's method over the 16 primary hypotheses,",
            "of which one that is not trained yet counts as not accepted; accuracies and probes",
            "are in points; d: mean over standard deviation of the differences, W: Kendall's.",
        ]
    if {"image", "joint", "joint_4x"} <= set(rows):
        lines += [
            f"Four times the epochs close {closed(rows, 'joint_4x'):.0%} of the gap of claim a."
        ]
    return "\n".join(lines)


def rows_tables(kept: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    """The rows of all claims, with the sceptic's beside them."""
    rows: Rows = kept["rows"]
    parts = [_concat_table(rows, comparison["rows"])] if "joint" in rows else []
    parts += [part for make in (_fusions, _views, _sweeps, _cosines) for part in make(rows)]
    return "\n\n".join("\n".join(part) for part in parts)


def star_table(kept: Mapping[str, Any]) -> str:
    """Why InfoReg* does not gain: the gain at every weight, and each explanation."""
    rows: Rows = kept["rows"]
    pairs = {0.0: ("joint", "inforeg"), 1.0: ("joint_star", "inforeg_star")}
    pairs |= {weight: (f"joint_w{weight}", f"inforeg_w{weight}") for weight in WEIGHTS}
    head = ["weight", "fused", "gain by InfoReg", "of the image's probe", "of the audio's probe"]
    head += ["image's share", "its agreement", "epochs held: audio, image"]
    body = [
        [
            f"{weight:g}",
            percent(rows[without]["test"]["accuracy"]),
            *(points(_paired(rows[by], rows[without], q)) for q in _QUANTITIES),
            *(_change(rows, without, by, f"{q}_image") for q in ("share", "agreement")),
            " and ".join(f"{_mean(rows[by], f'held_{m}'):.1f}" for m in ("audio", "image")),
        ]
        for weight, (without, by) in sorted(pairs.items())
        if {without, by} <= set(rows)
    ]
    lines = table(head, body)
    lines += [
        "",
        "Weight: of the unimodal losses. Fused: without InfoReg. Share and agreement: mean",
    ]
    lines += ["over the epochs, without → with InfoReg.", ""]
    for text, decision in explain(rows).items():
        lines += _explained(text, decision)
        if text == "s0" and decision.word == NOT_HERE:
            lines.append(
                "- There is nothing to explain, by the rule; what follows is for the record."
            )
    return "\n".join(lines)


def demo_table(kept: Mapping[str, Any], comparison: Mapping[str, Any]) -> str:
    """What ``make demo`` trains, over all seeds.

    Unimodal losses by their callback are those of the comparison, trained by the same settings.
    """
    rows: Rows = kept["rows"]
    if "joint" not in rows:
        return "Not trained yet."
    found = {**rows, "unimodal_losses": comparison["rows"]["unimodal_losses_shared"]}
    joint = rows["joint"]
    body = [
        [
            title or str(found[name]["title"]),
            percent(found[name]["test"]["accuracy"]),
            "" if name == "joint" else points(_paired(found[name], joint, "accuracy")),
            percent(found[name]["test"].get("probe_image")),
        ]
        for name, title in _DEMO.items()
        if name in found
    ]
    head = [f"test accuracy in %, last epoch, {len(joint['seeds'])} seeds", "fused"]
    return "\n".join(table([*head, "difference to joint", "image probe"], body))


_QUANTITIES = ("accuracy", "probe_image", "probe_audio")
_HEAD = ["row", "fused", "to joint training", "audio, probe", "image, probe"]


def _said(test: Test) -> str:
    name = "W" if test.interval is None else "d"
    effect = f"{test.effect:+.1f}" if math.isfinite(test.effect) else "∞"
    of = effect.replace("-", "−") if name == "d" else f"{test.effect:.2f}"
    digits = 1 if test.scale == 100 else 2
    mean = (
        "" if test.interval is None else f" {plus_minus(test.interval, test.scale, True, digits)}"
    )
    return f"{test.name}: {test.text}:{mean} ({name} {of}, p {p_value(test.adjusted)})"


def _explained(text: str, decision: Decision) -> list[str]:
    said = [f"  - {_said(test)}" for test in decision.tests]
    if text == "s0":
        there = "is not there" if decision.word == NOT_HERE else "is there"
        return [f"- The effect **{there}**:", *said]
    return [f"- {text[0].upper()}{text[1:]}: **{decision.word}**.", *said]


def _word(decisions: Mapping[str, Decision], claim: str) -> str:
    """The word of a claim; one that may yet become stronger is called so."""
    if claim not in decisions:
        return "not trained yet"
    word = decisions[claim].word
    return f"**{word}**{' so far' if word != HOLDS and len(decisions) < len(CLAIMS) else ''}"


def _concat_table(rows: Rows, others: Rows) -> list[str]:
    body = [_row(rows[name], rows["joint"]) for name in _CONCAT if name in rows]
    body += [
        _row(others[name], rows["joint"], f"{others[name]['title']} †")
        for name in _SCEPTIC
        if name in others and others[name]["seeds"] == rows["joint"]["seeds"]
    ]
    recipe = others.get("joint_recipe")
    lines = [*table(_HEAD, body), ""]
    lines += ["† Of [the comparison](methods.md#how-they-compare-on-av-digits), tuned there."]
    if recipe is not None and recipe["seeds"] == rows["joint"]["seeds"]:
        apart = max(map(abs, _paired(recipe, rows["joint"], "accuracy")))
        lines += [
            "Joint training at the recipe's settings was trained there too; no seed differs by "
            f"more than {100 * apart:.2f} points."
        ]
    return lines


def _fusions(rows: Rows) -> list[list[str]]:
    names = ("joint", "inforeg", "joint_star", "dgl", "auto_balance")
    body = [
        _row(rows[f"{name}_{fusion}"], rows[f"joint_{fusion}"])
        for fusion in FUSIONS
        for name in names
        if {f"{name}_{fusion}", f"joint_{fusion}"} <= set(rows)
    ]
    note = "Other fusions (concatenation: above). Each modality alone and their ensemble know none."
    return [[note, "", *table(_HEAD, body)]] if body else []


def _views(rows: Rows) -> list[list[str]]:
    names = [f"{name}_views" for name in ("joint", "inforeg", "joint_star", "dgl")]
    names += [f"{view}_views" for view in VIEWS] + ["ensemble_views", "ensemble_fitted_views"]
    head = [*_HEAD[:3], *(f"{view}, probe" for view in VIEWS)]
    body = [
        _row(rows[name], rows["joint_views"], modalities=VIEWS)
        for name in names
        if name in rows and "joint_views" in rows
    ]
    note = "Three views of UCI's handwritten digits, real data, 30 epochs:"
    return [[note, "", *table(head, body)]] if body else []


def _sweeps(rows: Rows) -> list[list[str]]:
    parts = []
    for title, key, of, default in (
        ("β", "beta", BETAS, 0.9),
        ("K", "K", THRESHOLDS, 0.04),
    ):
        names = {v: "inforeg" if v == default else f"{key}_{v}" for v in of}
        body = [
            [f"{title} = {value}", *_row(rows[name], rows["joint"])[1:]]
            for value, name in names.items()
            if name in rows
        ]
        if len(body) == len(of):
            parts.append(table([f"InfoReg, {title}", *_HEAD[1:]], body))
    return parts


def _cosines(rows: Rows) -> list[list[str]]:
    if "cosines" not in rows:
        return []
    measured = rows["cosines"]["measured"]
    epochs = [k.rsplit("_", 1)[1] for k in measured if k.startswith("cosine_image_")]
    body = [
        [m, *(f"{np.mean(measured[f'cosine_{m}_{t}']):.2f}" for t in epochs)]
        for m in ("audio", "image")
    ]
    head = ["mean cosine of two batches, after epoch", *(str(int(t) + 1) for t in epochs)]
    return [table(head, body)]


def _row(
    row: Mapping[str, Any],
    baseline: Mapping[str, Any],
    title: str | None = None,
    modalities: Sequence[str] = ("audio", "image"),
) -> list[str]:
    against = None if row is baseline else _paired(row, baseline, "accuracy")
    probes = [percent(row["test"].get(f"probe_{m}")) for m in modalities]
    return [title or str(row["title"]), percent(row["test"]["accuracy"]), points(against), *probes]


def _paired(row: Mapping[str, Any], baseline: Mapping[str, Any], quantity: str) -> list[float]:
    """Differences over the seeds that both have."""
    one, other = (
        dict(zip(of["seeds"], of["test"][quantity], strict=True)) for of in (row, baseline)
    )
    return [one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())]


def _mean(row: Mapping[str, Any], quantity: str) -> float:
    return float(np.mean(row["measured"][quantity]))


def _change(rows: Rows, without: str, by: str, quantity: str) -> str:
    return f"{_mean(rows[without], quantity):.2f} → {_mean(rows[by], quantity):.2f}"


def _seeds(rows: Rows) -> str:
    seeds = rows["joint"]["seeds"]
    return f"{len(seeds)} paired seeds, mean ± 95 % t interval, 2-core x86-64 CPU."
