"""One word per claim, from the kept numbers, by the rules of ``evidence/claims.md``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from running.claims.rows import BETAS, FUSIONS, THRESHOLDS
from running.claims.testing import Rows, Test, above_zero, adjusted, differ, values, within

HOLDS, IN_PART, NOT_HERE = "holds", "in part", "not here"
BOUND = 0.1  # of a cosine that is called nearly orthogonal

CLAIMS = {
    "a": "joint training starves a modality, and longer training does not repair it",
    "b": "InfoReg beats joint training, InfoReg* beats joint*",
    "c": "inside the window beats outside it and throughout",
    "d": "InfoReg beats joint training on every fusion",
    "e": "and with three modalities",
    "f": "accuracy depends on β and K, best at 0.9 and 0.04",
    "g": "gradients of different batches are nearly orthogonal",
    "h": "the trace of the suppressed modality rises",
    "i": "its features separate better",
}
HYPOTHESES = {
    "a": ("a1", "a2"),
    "b": ("b1", "b2"),
    "c": ("c1", "c2"),
    "d": ("b1", "d1", "d2", "d3"),
    "e": ("e1",),
    "f": ("f1", "f2"),
    "g": ("g1", "g2"),
    "h": ("h1",),
    "i": ("i1",),
}
EXPLANATIONS = {
    "nothing starves any more": ("s1", "s2", "s3"),
    "it only slows": ("s4",),
    "it holds back the wrong one": ("s5",),
}


@dataclass(frozen=True)
class Decision:
    """What is decided of a claim or an explanation.

    Attributes:
        claim: Its text.
        word: ``"holds"``, ``"in part"`` or ``"not here"``.
        tests: Those that decide it.
    """

    claim: str
    word: str
    tests: tuple[Test, ...]


def decide(rows: Rows) -> dict[str, Decision]:
    """Claim -> what is decided of it; a claim whose rows are not there is not among them."""
    tests = _tests(_primary(rows))
    found = {}
    for claim, names in HYPOTHESES.items():
        if all(name in tests for name in names):
            of = tuple(tests[name] for name in names)
            word = _longer(rows, of) if claim == "a" else word_of(of)
            found[claim] = Decision(CLAIMS[claim], word, of)
    return found


def explain(rows: Rows) -> dict[str, Decision]:
    """Explanation of why InfoReg* does not gain -> what is decided of it, ``"s0"`` first.

    Where there is nothing to explain, the explanations are left out.
    """
    tests = _tests(_star(rows))
    if len(tests) < 6:
        return {}
    effect = Decision(tests["s0"].text, word_of((tests["s0"],)), (tests["s0"],))
    found = {"s0": effect}
    for text, names in EXPLANATIONS.items():
        of = tuple(tests[name] for name in names)
        found[text] = Decision(text, word_of(of), of)
    return found


def word_of(tests: Sequence[Test]) -> str:
    """All hypotheses accepted, some, or none."""
    accepted = sum(test.accepted for test in tests)
    return HOLDS if accepted == len(tests) else IN_PART if accepted else NOT_HERE


def closed(rows: Rows, row: str) -> float:
    """What part of the gap of the image's encoder a row closes, of the means over the seeds."""
    alone, joint, other = (
        float(np.mean(values(rows, name, "probe_image"))) for name in ("image", "joint", row)
    )
    return (other - joint) / (alone - joint)


def _longer(rows: Rows, tests: Sequence[Test]) -> str:
    """Of claim a: with both accepted, four times the epochs must close less than half the gap."""
    if not tests[0].accepted:
        return NOT_HERE
    return HOLDS if tests[1].accepted and closed(rows, "joint_4x") < 0.5 else IN_PART


def _tests(hypotheses: Mapping[str, Callable[[], Test]]) -> dict[str, Test]:
    """Name -> test, of those whose rows are there, adjusted over all."""
    found = []
    for make in hypotheses.values():
        try:
            found.append(make())
        except KeyError:  # a row that was not trained, or not on these seeds
            continue
    return {test.name: test for test in adjusted(found, len(hypotheses))}


def _difference(rows: Rows, one: str, other: str, quantity: str = "accuracy") -> list[float]:
    if rows[one]["seeds"] != rows[other]["seeds"] or len(rows[one]["seeds"]) < 2:
        raise KeyError(f"{one} and {other} are not of the same seeds")
    pairs = zip(values(rows, one, quantity), values(rows, other, quantity), strict=True)
    return [a - b for a, b in pairs]


def _primary(rows: Rows) -> dict[str, Callable[[], Test]]:
    def gain(name: str, one: str, other: str, text: str) -> Callable[[], Test]:
        return lambda: above_zero(name, f"{text}, fused", _difference(rows, one, other))

    def probe(name: str, one: str, other: str, text: str) -> Callable[[], Test]:
        found = "probe_image"
        return lambda: above_zero(name, f"{text}, probe", _difference(rows, one, other, found))

    fusions = zip(("d1", "d2", "d3"), FUSIONS.items(), strict=True)
    return {
        "a1": probe("a1", "image", "joint", "image alone − joint training"),
        "a2": probe("a2", "image", "joint_4x", "image alone − joint training with 4 × the epochs"),
        "b1": gain("b1", "inforeg", "joint", "InfoReg − joint training"),
        "b2": gain("b2", "inforeg_star", "joint_star", "InfoReg* − joint*"),
        "c1": gain("c1", "inforeg", "outside", "inside − outside the window"),
        "c2": gain("c2", "inforeg", "always", "inside the window − throughout"),
        **{
            name: gain(name, f"inforeg_{key}", f"joint_{key}", f"InfoReg − joint training, {of}")
            for name, (key, of) in fusions
        },
        "e1": gain("e1", "inforeg_views", "joint_views", "InfoReg − joint training, three views"),
        "f1": lambda: differ("f1", "β matters and 0.9 is best", _sweep(rows, "beta", BETAS), 0.9),
        "f2": lambda: differ(
            "f2", "K matters and 0.04 is best", _sweep(rows, "K", THRESHOLDS), 0.04
        ),
        **{
            name: _orthogonal(rows, name, modality)
            for name, modality in (("g1", "audio"), ("g2", "image"))
        },
        "h1": lambda: above_zero(
            "h1", "log trace of the image, InfoReg − joint", _traces(rows), 1.0
        ),
        "i1": probe("i1", "inforeg", "joint", "InfoReg − joint training, image"),
    }


def _orthogonal(rows: Rows, name: str, modality: str) -> Callable[[], Test]:
    text = f"cosine within ± {BOUND}, {modality}"
    return lambda: within(name, text, values(rows, "cosines", f"cosine_{modality}"), BOUND)


def _sweep(rows: Rows, key: str, of: Sequence[float]) -> dict[float, list[float]]:
    """Value of β or K -> accuracies; InfoReg itself has the default of each."""
    default = {"beta": 0.9, "K": 0.04}[key]
    names = {value: "inforeg" if value == default else f"{key}_{value}" for value in of}
    if len({tuple(rows[name]["seeds"]) for name in names.values()}) > 1:
        raise KeyError(f"the rows of {key} are not of the same seeds")
    return {value: values(rows, name, "accuracy") for value, name in names.items()}


def _traces(rows: Rows) -> list[float]:
    one, other = (np.log(values(rows, row, "trace_image")) for row in ("inforeg", "joint"))
    _difference(rows, "inforeg", "joint")  # of the same seeds
    return [float(x) for x in one - other]


def _star(rows: Rows) -> dict[str, Callable[[], Test]]:
    def gains(quantity: str) -> list[float]:
        without = _difference(rows, "inforeg", "joint", quantity)
        beside = _difference(rows, "inforeg_star", "joint_star", quantity)
        return [a - b for a, b in zip(without, beside, strict=True)]

    def halfway() -> list[float]:
        to_joint = _difference(rows, "joint_star", "joint", "probe_image")
        to_alone = _difference(rows, "joint_star", "image", "probe_image")
        return [(a + b) / 2 for a, b in zip(to_joint, to_alone, strict=True)]

    def received() -> list[float]:
        """By how much more regulation raises what the image receives without unimodal losses."""
        logs = {
            row: np.log(np.array(values(rows, row, "share_image")) + weight)
            for row, weight in (
                *(("inforeg", 0), ("joint", 0)),
                *(("inforeg_star", 1), ("joint_star", 1)),
            )
        }
        gains("accuracy")  # of the same seeds
        without = logs["inforeg"] - logs["joint"]
        return [float(x) for x in without - (logs["inforeg_star"] - logs["joint_star"])]

    return {
        "s0": lambda: above_zero(
            "s0", "the gain by InfoReg is larger without unimodal losses, fused", gains("accuracy")
        ),
        "s1": lambda: above_zero("s1", "joint* closes more than half of the gap, probe", halfway()),
        "s2": lambda: above_zero(
            "s2",
            "regulation raises what the image receives more without them, log",
            received(),
            1.0,
        ),
        "s3": lambda: above_zero(
            "s3", "the image gains more without them, probe", gains("probe_image")
        ),
        "s4": lambda: above_zero(
            "s4",
            "the audio loses by InfoReg*, probe",
            [-x for x in _difference(rows, "inforeg_star", "joint_star", "probe_audio")],
        ),
        "s5": lambda: above_zero(
            "s5",
            "InfoReg* on the audio alone − InfoReg*, fused",
            _difference(rows, "inforeg_star_audio", "inforeg_star"),
        ),
    }
