"""What a diagnosis ends in: verdict, states, sentences, a table, and how all of it is shown."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from inforeg_lightning.diagnosis import sentences
from inforeg_lightning.diagnosis.course import Course, agreement_at, share_fell, trace_fell
from inforeg_lightning.diagnosis.intervals import Estimate
from inforeg_lightning.diagnosis.measures import Measures, measure
from inforeg_lightning.diagnosis.rules import Evidence, Thresholds, state_of, verdict_of
from inforeg_lightning.diagnosis.setup import Run, Setup

Row = dict[str, Any]
"""``measure``, ``of``, ``value``, ``low``, ``high``, ``unit``: a line of the table."""

_WIDTH = 96


@dataclass(frozen=True)
class ModalityState:
    """What is said of one modality.

    Attributes:
        state: ``"healthy"``, ``"starved"``, ``"weak by nature"`` or ``"cannot tell"``.
        sentence: Why, with the numbers.
    """

    state: str
    sentence: str


@dataclass(frozen=True)
class Diagnosis:
    """Whether a model suffers, and from what.

    Attributes:
        verdict: ``"healthy"``, ``"starved"``, ``"fusion harms"``, ``"weak by nature"`` or
            ``"cannot tell"``.
        sentence: Why, with the numbers.
        advice: What to do.
        modalities: Modality -> its state.
        table: All measurements, a plain dict each; ``pandas.DataFrame(diagnosis.table)`` is a
            frame.
        notes: What went wrong or was left out, a sentence each.
        cost: How much was trained: ``runs``, ``seconds``, ``epochs``, and those of the joint runs.
        reference: What others reach, as given.
        evidence: What the rules read: value, low and high each, ``None`` if not measured.
        course: Since when: ``"trace"``, ``"share"`` and ``"agreement"`` -> modality -> per epoch
            of the joint runs, mean over seeds; empty where all of them are reused.
    """

    verdict: str
    sentence: str
    advice: str
    modalities: Mapping[str, ModalityState]
    table: Sequence[Row]
    notes: Sequence[str]
    cost: Mapping[str, float]
    reference: Mapping[str, float]
    evidence: Mapping[str, Any]
    course: Course = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def to_json(self) -> str:
        """As JSON."""
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Diagnosis":
        """What :meth:`to_dict` gave."""
        states = {m: ModalityState(**of) for m, of in content["modalities"].items()}
        return cls(**{**content, "modalities": states})

    def value(self, measure: str, of: str) -> Estimate | None:
        """A number of the table, by its first two columns."""
        for row in self.table:
            if (row["measure"], row["of"]) == (measure, of):
                return Estimate(row["value"], row["low"], row["high"])
        return None

    def plot(self) -> Any:
        """The picture: what each modality knows alone, what the fused model holds and uses of it.

        Returns:
            A ``matplotlib.figure.Figure``.
        """
        from inforeg_lightning.diagnosis.figure import draw

        return draw(self)

    def __str__(self) -> str:
        """A page of text."""
        lines = [f"Diagnosis: {self.verdict.upper()}", "", *_wrapped(self.sentence)]
        lines += [*_wrapped(self.advice), "", "Each modality"]
        for modality, found in self.modalities.items():
            lines += _wrapped(f"{modality}: {found.state}: {found.sentence}.", "  ")
        lines += ["", "Measured on the test set, with 95 % intervals over samples and seeds"]
        for name in dict.fromkeys(row["measure"] for row in self.table):
            lines.append(f"  {name}")
            lines += [_line(row) for row in self.table if row["measure"] == name]
        for name, share in self.reference.items():
            lines.append(f"    {f'reference, {name}':<38}{100 * share:6.1f} %")
        for note in self.notes:
            lines += _wrapped(f"Note: {note}")
        lines.append(
            f"{self.cost['runs']:.0f} runs, {self.cost['seconds']:.0f} s of training and "
            "measuring; "
            f"{self.cost['joint epochs']:.0f} of {self.cost['epochs']:.0f} epochs were the joint "
            "training itself."
        )
        return "\n".join(lines)


def conclude(
    setup: Setup, runs: Sequence[Run], at: Thresholds, reference: Mapping[str, float]
) -> Diagnosis:
    """Measure, judge, and say it."""
    found = measure(runs, setup.modalities, setup.exact_up_to)
    evidence = found.evidence
    states: dict[str, str] = {}
    if evidence.drop:
        states = {m: state_of(evidence, m, at) for m in setup.modalities}
        verdict = verdict_of(evidence, states, at)
        sentence = sentences.of_model(verdict, states, found)
    else:
        verdict, sentence = "cannot tell", "No run has left anything to measure."
    return Diagnosis(
        verdict,
        sentence,
        sentences.ADVICE[verdict].format(best=evidence.best),
        {m: ModalityState(s, sentences.of_modality(s, m, found)) for m, s in states.items()},
        rows(found, setup.modalities),
        found.notes,
        _cost(runs),
        dict(reference),
        plain_evidence(evidence),
        found.course,
    )


def rows(found: Measures, modalities: Sequence[str]) -> list[Row]:
    """The table of a diagnosis."""
    evidence, table = found.evidence, []

    def add(measure: str, of: str, value: Estimate | None, unit: str) -> None:
        if value is not None and unit == "share":  # a t interval knows of no bounds
            value = Estimate(value.value, max(value.low, 0.0), min(value.high, 1.0))
        if value is not None:
            table.append({"measure": measure, "of": of, **value.to_dict(), "unit": unit})

    for name, value in found.accuracy.items():
        add("accuracy", name, value, "share")
    if found.accuracy:
        add("accuracy", "largest class", Estimate(*[found.chance] * 3), "share")
    add("fused − best alone", evidence.best, evidence.gain, "points")
    add("left on the table", found.remedy, evidence.table, "points")
    for modality in modalities if evidence.drop else ():
        for kind in ("alone", "joint"):
            name = f"{modality} {kind}"
            add("probe of the encoder", name, found.probes.get(name), "share")
    for label, of in (
        ("probe of joint − of alone", evidence.probe),
        ("lost when permuted", evidence.drop),
        ("Shapley share", found.shares),
        ("Shapley interaction", found.interactions),
    ):
        for name, estimated in of.items():
            add(label, name, estimated, "points")
    for name, error in found.calibration.items():
        add("calibration error", name, Estimate(error, error, error), "share")
    for label, fell in (
        ("gradients at a fifth of their peak", trace_fell),
        ("learning signal below a fifth", share_fell),
    ):
        for name in modalities:
            if (epoch := fell(found.course, name)) is not None:
                add(label, name, Estimate(epoch, epoch, epoch), "epoch")
    for name in modalities:
        cosine = agreement_at(found.course, name, share_fell(found.course, name))
        if cosine is not None:
            add("agreement of its gradients then", name, Estimate(*[cosine] * 3), "cosine")
    return table


def plain_evidence(evidence: Evidence) -> dict[str, Any]:
    """Evidence as plain data: value, low and high of each number."""

    def ends(x: Estimate | None) -> list[float] | None:
        return None if x is None else [*x.to_dict().values()]

    return {
        **{
            name: {m: ends(x) for m, x in getattr(evidence, name).items()}
            for name in ("over_chance", "drop", "probe")
        },
        "gain": ends(evidence.gain),
        "best": evidence.best,
        "table": ends(evidence.table),
    }


def _cost(runs: Sequence[Run]) -> dict[str, float]:
    epochs = {run.job: float(run.info.get("epochs", 0)) for run in runs}
    return {
        "runs": len(runs),
        "seconds": round(sum(float(run.info.get("seconds", 0)) for run in runs), 1),
        "epochs": sum(epochs.values()),
        "joint epochs": sum(n for job, n in epochs.items() if job.kind == "joint"),
    }


def row_value(row: Row) -> str:
    """The number of a row of the table, with its interval and in its unit."""
    value, low, high = (100 * row[end] for end in ("value", "low", "high"))
    if row["unit"] == "epoch":
        return f"epoch {row['value']:.0f}"
    if row["unit"] == "cosine":
        return f"{row['value']:7.2f}"
    if row["low"] == row["high"]:
        return f"{value:6.1f} %"
    if row["unit"] == "share":
        return f"{value:6.1f} %  ({low:.1f} to {high:.1f})"
    return f"{value:+6.1f}    ({low:+.1f} to {high:+.1f})"


def _line(row: Row) -> str:
    return f"    {row['of']:<38}{row_value(row)}"


def _wrapped(text: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=indent, subsequent_indent=indent + "  " * bool(indent)
    )
