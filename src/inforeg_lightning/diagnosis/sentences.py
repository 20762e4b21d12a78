"""What a verdict says in words, with the numbers that justify it, and what to do about it."""

from collections.abc import Mapping

from inforeg_lightning.diagnosis.course import Course, agreement_at, share_fell, trace_fell
from inforeg_lightning.diagnosis.intervals import Estimate
from inforeg_lightning.diagnosis.measures import Measures
from inforeg_lightning.diagnosis.rules import HARMS, HEALTHY, STARVED, UNCLEAR, WEAK

ADVICE = {
    HEALTHY: "Leave the training as it is; there is nothing to regulate.",
    STARVED: "Try, in this order: unimodal losses on heads of their own "
    '(`UnimodalLossesCallback(..., unimodal_heads="own")`), DGL, regulation '
    '(`InfoRegCallback(..., window="adaptive")`).',
    HARMS: "Use {best} alone, or give it priority and drop or damp the others. InfoReg is not for "
    "this.",
    WEAK: "Leave it: there is nothing in it to be learnt, and so nothing to regulate.",
    UNCLEAR: "More test samples or more seeds would narrow the intervals.",
}


def of_model(verdict: str, states: Mapping[str, str], found: Measures) -> str:
    """The sentence that justifies a verdict."""
    evidence = found.evidence
    fused, best = _share(found, "fused"), evidence.best
    alone = f"{best} alone has {_share(found, f'{best} alone')}" if best else ""
    table = (
        f"encoders that learn by themselves ({found.remedy}) would bring {evidence.table} points"
        if evidence.table
        else "what better encoders would bring could not be measured"
    )
    those = " and ".join(m for m, state in states.items() if state == verdict)
    if verdict == HARMS:
        return f"The fused model has {fused}, {alone}: {evidence.gain} points of difference."
    if verdict == STARVED:
        return (
            f"The encoder of {those} holds clearly less than when it is trained alone, and "
            f"{table}. The fused model has {fused}."
        )
    if verdict == WEAK:
        return (
            f"{those[:1].upper()}{those[1:]} alone knows next to nothing, and the fused model does "
            f"not use it; it has {fused}, and {alone}."
        )
    if verdict == HEALTHY:
        return f"The fused model has {fused}, {alone}, and {table}."
    return (
        f"The intervals allow more than one answer: the fused model has {fused}, the difference to "
        f"the best modality alone is {_or_unknown(evidence.gain)} points, and {table}."
    )


def of_modality(state: str, modality: str, found: Measures) -> str:
    """The sentence that justifies the state of a modality."""
    evidence = found.evidence
    over, drop = evidence.over_chance[modality], evidence.drop[modality]
    probe = evidence.probe[modality]
    alone = f"alone it is {_or_unknown(over)} points above the largest class"
    uses = f"the fused model loses {_or_unknown(drop)} points without it"
    holds = f"its joint encoder holds {_or_unknown(probe)} points relative to alone"
    if state == STARVED:
        probes = (_share(found, f"{modality} {kind}", found.probes) for kind in ("joint", "alone"))
        held = f"a probe of its encoder has {' against '.join(probes)} alone: {probe} points"
        return held + _since(found.course, modality)
    if state == WEAK:
        return f"{alone}, and {uses}"
    if state == UNCLEAR:
        return f"{alone}, {uses}, {holds}: the intervals do not decide"
    return f"{alone}, {uses}, and {holds}"


def _since(course: Course, modality: str) -> str:
    said = ""
    if epoch := trace_fell(course, modality):
        said += f"; its gradients had fallen to a fifth of their peak by epoch {epoch}"
    if epoch := share_fell(course, modality):
        said += f"; since epoch {epoch} less than a fifth of its learning signal reaches it"
        agree = agreement_at(course, modality, epoch)
        if agree is not None:
            said += f", though its gradients agreed by {agree:.2f} then"
    return said


def _share(found: Measures, name: str, of: Mapping[str, Estimate] | None = None) -> str:
    known = (found.accuracy if of is None else of).get(name)
    return "an unknown accuracy" if known is None else f"{100 * known.value:.1f} %"


def _or_unknown(found: Estimate | None) -> str:
    return "an unknown number of" if found is None else str(found)
