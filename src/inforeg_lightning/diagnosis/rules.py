"""From measurements to states and verdicts: each rule a function, each threshold named.

A rule answers yes, no, or ``None`` where the interval does not allow either; ``None`` becomes
"cannot tell". All differences are shares of the test set: 0.03 is three points of accuracy.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from inforeg_lightning.diagnosis.intervals import Estimate

HEALTHY = "healthy"
STARVED = "starved"
HARMS = "fusion harms"
WEAK = "weak by nature"
UNCLEAR = "cannot tell"

STATES = (HEALTHY, STARVED, HARMS, WEAK, UNCLEAR)
"""All words for a model. A modality has all but "fusion harms", which is about the model."""


@dataclass(frozen=True)
class Thresholds:
    """How large a difference has to be, in shares of the test set.

    They were tuned on the worlds of ``python experiments/study.py truth`` with numbers below 100,
    and are judged on those from 100 on.

    Attributes:
        near_chance: Alone, a modality this little above the largest class knows nothing.
        drop: What the fused model loses at least without a modality that it uses.
        less: By how much an encoder at least holds less than alone.
        table: What better encoders must at least bring.
        harm: By how much the fused model is at least below one modality alone.
        width: An answer "no" needs an upper end below this many times the threshold.
        narrow: How much of a 95 % interval the rules look at; 0.65 is about an 80 % interval.
        mended: The part of the harm that must come back for it to be starvation.
    """

    near_chance: float = 0.04
    drop: float = 0.03
    less: float = 0.01
    table: float = 0.04
    harm: float = 0.03
    width: float = 2.5
    narrow: float = 0.65
    mended: float = 0.5


@dataclass(frozen=True)
class Evidence:
    """What the rules read; ``None`` where a measurement could not be made.

    Attributes:
        over_chance: Modality -> accuracy alone, minus that of always naming the largest class.
        drop: Modality -> what the fused model loses when it is permuted over samples.
        probe: Modality -> probe of the joint encoder, minus probe of the encoder trained alone.
        gain: Fused, minus the best modality alone.
        best: That modality, chosen on validation.
        table: The better of ensemble and unimodal losses, chosen on validation, minus fused.
    """

    over_chance: Mapping[str, Estimate | None]
    drop: Mapping[str, Estimate | None]
    probe: Mapping[str, Estimate | None]
    gain: Estimate | None
    best: str
    table: Estimate | None


def reaches(found: Estimate | None, least: float, at: Thresholds) -> bool | None:
    """Whether a difference is at least so large.

    Yes, if it is in the mean and the interval lies above 0. No, if it is not in the mean and the
    interval ends below ``at.width`` times the threshold. Else the interval allows either.
    """
    if found is None:
        return None
    low = found.value - at.narrow * (found.value - found.low)
    high = found.value + at.narrow * (found.high - found.value)
    if found.value >= least and low > 0:
        return True
    if found.value < least and high < at.width * least:
        return False
    return None


def knows_something(evidence: Evidence, modality: str, at: Thresholds) -> bool | None:
    """Whether a modality alone is clearly above chance."""
    return reaches(evidence.over_chance[modality], at.near_chance, at)


def is_used(evidence: Evidence, modality: str, at: Thresholds) -> bool | None:
    """Whether the fused model loses something without a modality."""
    return reaches(evidence.drop[modality], at.drop, at)


def is_weak(evidence: Evidence, modality: str, at: Thresholds) -> bool | None:
    """Near chance alone, and not used, as two that tell something only together would be."""
    return both(
        negated(knows_something(evidence, modality, at)), negated(is_used(evidence, modality, at))
    )


def holds_less(evidence: Evidence, modality: str, at: Thresholds) -> bool | None:
    """Whether the joint encoder holds clearly less than the one trained alone."""
    found = evidence.probe[modality]
    return None if found is None else reaches(turned(found), at.less, at)


def is_on_the_table(evidence: Evidence, at: Thresholds) -> bool | None:
    """Whether encoders that learn by themselves would do better than the fused model."""
    return reaches(evidence.table, at.table, at)


def is_below_one_alone(evidence: Evidence, at: Thresholds) -> bool | None:
    """Whether the fused model is clearly below one modality alone."""
    return None if evidence.gain is None else reaches(turned(evidence.gain), at.harm, at)


def is_mended(evidence: Evidence, at: Thresholds) -> bool | None:
    """Whether better encoders win back most of what the fused model is below one modality alone."""
    if evidence.gain is None or evidence.table is None:
        return None
    return evidence.table.value >= -at.mended * evidence.gain.value


def fusion_harms(evidence: Evidence, at: Thresholds) -> bool | None:
    """Below one modality alone, and the others know nothing or better encoders do not mend it."""
    others = [
        negated(knows_something(evidence, m, at)) for m in evidence.drop if m != evidence.best
    ]
    nothing = None if None in others else all(others)
    return both(is_below_one_alone(evidence, at), either(nothing, negated(is_mended(evidence, at))))


def is_starved(evidence: Evidence, modality: str, at: Thresholds) -> bool | None:
    """Its encoder holds clearly less than alone, and something is on the table."""
    return both(holds_less(evidence, modality, at), is_on_the_table(evidence, at))


def state_of(evidence: Evidence, modality: str, at: Thresholds) -> str:
    """The state of a modality."""
    weak = is_weak(evidence, modality, at)
    if weak:
        return WEAK
    starved = is_starved(evidence, modality, at)
    if starved:
        return STARVED
    return UNCLEAR if None in (weak, starved) else HEALTHY


def verdict_of(evidence: Evidence, states: Mapping[str, str], at: Thresholds) -> str:
    """The verdict on the model: what harms most comes first."""
    harms = fusion_harms(evidence, at)
    if harms:
        return HARMS
    if harms is None:
        return UNCLEAR
    for word in (STARVED, UNCLEAR, WEAK):
        if word in states.values():
            return word
    return HEALTHY


def turned(found: Estimate) -> Estimate:
    """The difference the other way round."""
    return Estimate(-found.value, -found.high, -found.low)


def negated(answer: bool | None) -> bool | None:
    """No for yes, yes for no."""
    return None if answer is None else not answer


def both(one: bool | None, other: bool | None) -> bool | None:
    """Yes if both are; no if one is not, whatever the other."""
    if one is False or other is False:
        return False
    return None if one is None or other is None else True


def either(one: bool | None, other: bool | None) -> bool | None:
    """Yes if one is, whatever the other; no if both are not."""
    return negated(both(negated(one), negated(other)))
