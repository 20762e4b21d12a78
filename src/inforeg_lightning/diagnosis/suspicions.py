"""From what a monitor saw of one training to suspicions, in the words of a diagnosis."""

import json
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from inforeg_lightning.diagnosis.report import ModalityState
from inforeg_lightning.diagnosis.rules import (
    HARMS,
    HEALTHY,
    STARVED,
    UNCLEAR,
    WEAK,
    both,
    negated,
)

_WIDTH = 96


@dataclass(frozen=True)
class SuspicionThresholds:
    """How large a number has to be for a suspicion.

    They were tuned on the worlds of ``python experiments/study.py suspicions`` with numbers below
    100. Signal share alone tells nothing there, and agreement nothing at all: a healthy modality
    is left as little signal at the end of its training as a starved one, and the gradients of noise
    agree once it is memorised. What tells is that a probe of one encoder beats the fused model.

    Attributes:
        near_chance: A probe this little above the largest class knows nothing.
        drop: What the fused model loses at least without a modality that it uses.
        waste: By how much a probe of one encoder is at least above a fused model that wastes it.
        share: Below this part of its learning signal, a modality of such a model goes without.
    """

    near_chance: float = 0.04
    drop: float = 0.03
    waste: float = 0.03
    share: float = 0.2


@dataclass(frozen=True)
class Seen:
    """What the rules read of one modality; ``None`` where it was not measured.

    Attributes:
        share: Signal share of the last measured epoch.
        agreement: Agreement there.
        probe: Accuracy of its probe there, minus the share of the largest class.
        best_probe: The highest of all measured epochs.
        drop: What the fused model loses there without it.
        margin: Accuracy of its probe there, minus that of the fused model.
    """

    share: float | None
    agreement: float | None
    probe: float | None
    best_probe: float | None
    drop: float | None
    margin: float | None


@dataclass(frozen=True)
class Suspicions:
    """What one training run lets one suspect; :func:`diagnose` is what can know it.

    Attributes:
        verdict: As of a :class:`~inforeg_lightning.diagnosis.Diagnosis`, suspected.
        sentence: Why, with the numbers.
        modalities: Modality -> its suspected state.
        notes: What could not be measured, a sentence each.
        seen: What the rules read, by modality.
        is_suspicion: Always true: it is in the JSON so that nobody takes it for a diagnosis.
    """

    verdict: str
    sentence: str
    modalities: Mapping[str, ModalityState]
    notes: Sequence[str]
    seen: Mapping[str, Mapping[str, float | None]]
    is_suspicion: bool = True

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def to_json(self) -> str:
        """As JSON."""
        return json.dumps(self.to_dict(), indent=1)

    def __str__(self) -> str:
        """A paragraph."""
        states = " ".join(
            f"{m[:1].upper()}{m[1:]} ({of.state}): {of.sentence}."
            for m, of in self.modalities.items()
        )
        text = (
            f"Suspected: {self.verdict.upper()}. {self.sentence} {states} {' '.join(self.notes)} "
            "These are suspicions from one run; inforeg_lightning.diagnosis.diagnose trains each "
            "modality alone, and can tell."
        )
        return textwrap.fill(" ".join(text.split()), _WIDTH)


def suspect(
    history: Sequence[Mapping[str, Any]], modalities: Sequence[str], at: SuspicionThresholds
) -> Suspicions:
    """What the history of a monitor lets one suspect."""
    seen = {m: seen_of(history, m) for m in modalities}
    states = {m: state_of(seen, m, at) for m in modalities}
    verdict = verdict_of(seen, states, at)
    return Suspicions(
        verdict,
        _of_model(verdict, seen, history),
        {m: ModalityState(s, _of_modality(seen[m])) for m, s in states.items()},
        _notes(history, seen),
        {m: asdict(found) for m, found in seen.items()},
    )


def seen_of(history: Sequence[Mapping[str, Any]], modality: str) -> Seen:
    """What the rules read, from the last epoch that measured each number."""

    def last(quantity: str) -> float | None:
        known = [e[quantity].get(modality) for e in history if quantity in e]
        return next((value for value in reversed(known) if value is not None), None)

    validated = [e for e in history if e.get("probe", {}).get(modality) is not None]
    over = [e["probe"][modality] - (e["largest_class"] or 0.0) for e in validated]
    margin = None
    if validated and validated[-1]["fused"] is not None:
        margin = validated[-1]["probe"][modality] - validated[-1]["fused"]
    return Seen(
        last("share"),
        last("agreement"),
        over[-1] if over else None,
        max(over, default=None),
        last("drop"),
        margin,
    )


def is_near_chance(seen: Seen, at: SuspicionThresholds) -> bool | None:
    """Whether no measured epoch's encoder knew anything that a line can read."""
    return None if seen.best_probe is None else seen.best_probe < at.near_chance


def is_used(seen: Seen, at: SuspicionThresholds) -> bool | None:
    """Whether the fused model loses something without the modality."""
    return None if seen.drop is None else seen.drop >= at.drop


def is_wasteful(seen: Mapping[str, Seen], at: SuspicionThresholds) -> bool | None:
    """Whether a probe of one encoder alone is clearly above the fused model."""
    known = [found.margin for found in seen.values() if found.margin is not None]
    return max(known) >= at.waste if known else None


def goes_without(seen: Mapping[str, Seen], modality: str, at: SuspicionThresholds) -> bool | None:
    """Whether little of the learning signal reaches it, and less than any that knows something."""
    share = seen[modality].share
    if share is None:
        return None
    others = [x.share for x in seen.values() if x.share is not None and not is_near_chance(x, at)]
    return share < at.share and share <= min(others, default=share)


def is_weak(seen: Seen, at: SuspicionThresholds) -> bool | None:
    """Near chance, and not used, as two that tell something only together would be."""
    return both(is_near_chance(seen, at), negated(is_used(seen, at)))


def is_starved(seen: Mapping[str, Seen], modality: str, at: SuspicionThresholds) -> bool | None:
    """The fused model is below what one encoder holds, and this one is left the least signal."""
    return both(is_wasteful(seen, at), goes_without(seen, modality, at))


def fusion_harms(seen: Mapping[str, Seen], at: SuspicionThresholds) -> bool | None:
    """Below what the best encoder alone holds, and the model does not lose anything by the others.

    Where it does lose by them, they are what it has learnt instead, and starvation is suspected.
    """
    probes = {m: found.probe for m, found in seen.items() if found.probe is not None}
    best = max(probes, key=probes.__getitem__, default=None)
    used = [is_used(found, at) for m, found in seen.items() if m != best]
    return both(is_wasteful(seen, at), None if None in used else not any(used))


def state_of(seen: Mapping[str, Seen], modality: str, at: SuspicionThresholds) -> str:
    """The suspected state of a modality."""
    weak, starved = is_weak(seen[modality], at), is_starved(seen, modality, at)
    if weak:
        return WEAK
    if starved:
        return STARVED
    return UNCLEAR if None in (weak, starved) else HEALTHY


def verdict_of(seen: Mapping[str, Seen], states: Mapping[str, str], at: SuspicionThresholds) -> str:
    """What is suspected of the model."""
    if fusion_harms(seen, at):
        return HARMS
    for word in (STARVED, UNCLEAR, WEAK):
        if word in states.values():
            return word
    return HEALTHY


def _of_model(verdict: str, seen: Mapping[str, Seen], history: Sequence[Mapping[str, Any]]) -> str:
    fused = next((e["fused"] for e in reversed(history) if e.get("fused") is not None), None)
    has = f"The fused model has {_percent(fused)} on validation."
    margins = {m: found.margin for m, found in seen.items() if found.margin is not None}
    best = max(margins, key=margins.__getitem__, default="")
    if verdict == HARMS:
        over = _points(seen[best].margin)
        return f"{has} A probe of {best} alone is {over} from that, and no other is used."
    if verdict == STARVED:
        over = _points(seen[best].margin)
        return f"{has} A probe of {best} alone is {over} from that: what is held is not used."
    if verdict == WEAK:
        return f"{has} There is a modality in which nothing is to be learnt."
    if verdict == HEALTHY:
        return f"{has} Nothing speaks against it."
    return f"{has} What was measured does not allow a suspicion."


def _of_modality(seen: Seen) -> str:
    return (
        f"{_percent(seen.share)} of its learning signal reaches it, its gradients agree by "
        f"{'an unknown cosine' if seen.agreement is None else f'{seen.agreement:.2f}'}, a probe of "
        f"its encoder is {_points(seen.probe)} above the largest class, and the fused model loses "
        f"{_points(seen.drop)} without it"
    )


def _notes(history: Sequence[Mapping[str, Any]], seen: Mapping[str, Seen]) -> list[str]:
    if not history:
        return ["No epoch was measured: train first."]
    notes = []
    if skipped := sum(entry["skipped"] for entry in history):
        notes.append(f"{skipped} watched steps were not finite and are left out.")
    if all(found.probe is None and found.drop is None for found in seen.values()):
        notes.append("No validation was measured: is there a loader, and does it call the head?")
        return notes
    for modality, found in seen.items():
        if found.share is None:
            notes.append(f"No watched batch had {modality}.")
        elif found.probe is None:
            notes.append(f"Too few samples of validation had finite features of {modality}.")
    return notes


def _percent(share: float | None) -> str:
    return "an unknown part" if share is None else f"{100 * share:.0f} %"


def _points(share: float | None) -> str:
    return "an unknown number of points" if share is None else f"{100 * share:+.1f} points"


def draw(history: Sequence[Mapping[str, Any]], suspicions: Suspicions) -> Any:
    """Share, agreement, probe and drop of each modality over the measured epochs."""
    if not history:
        raise ValueError("plot() needs a history, but no epoch was measured yet: train first")
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plot() needs matplotlib: pip install matplotlib") from error
    figure = Figure(figsize=(12, 3.2), layout="constrained")
    panels = figure.subplots(1, 4)
    epochs = [entry["epoch"] for entry in history]
    titles = {
        "share": "learning signal that arrives",
        "agreement": "agreement of its gradients",
        "probe": "a probe of its encoder knows",
        "drop": "the model loses without it",
    }
    for panel, (quantity, title) in zip(panels, titles.items(), strict=True):
        for index, modality in enumerate(suspicions.modalities):
            values = [entry.get(quantity, {}).get(modality) for entry in history]
            known = [float("nan") if v is None else v for v in values]
            panel.plot(epochs, known, marker="o", color=f"C{index}", label=modality)
        panel.set(title=title, xlabel="epoch")
    for quantity, style in (("largest_class", ":"), ("fused", "--")):
        known = [float("nan") if (v := e.get(quantity)) is None else v for e in history]
        label = quantity.replace("_", " ")
        panels[2].plot(epochs, known, linestyle=style, color="0.4", label=label)
    panels[3].axhline(0, color="0.6", linewidth=0.8)
    panels[2].legend(fontsize="small")
    figure.suptitle(f"Suspected: {suspicions.verdict}", fontweight="bold")
    return figure
