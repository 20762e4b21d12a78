"""Every rule of a diagnosis: what it says of clear evidence, and that it keeps still without."""

from dataclasses import replace

import pytest

from inforeg_lightning.diagnosis import HARMS, HEALTHY, STARVED, UNCLEAR, WEAK, Thresholds, rules
from inforeg_lightning.diagnosis.intervals import Estimate
from inforeg_lightning.diagnosis.rules import Evidence

AT = Thresholds()


def near(value, half=0.01):
    return Estimate(value, value - half, value + half)


HEALTHY_MODEL = Evidence(
    over_chance={"a": near(0.5), "b": near(0.3)},
    drop={"a": near(0.3), "b": near(0.1)},
    probe={"a": near(0.0), "b": near(-0.005)},
    gain=near(0.05),
    best="a",
    table=near(0.0),
)
STARVED_MODEL = replace(
    HEALTHY_MODEL, probe={"a": near(0.0), "b": near(-0.12)}, table=near(0.10), gain=near(-0.02)
)


def verdict(evidence):
    states = {m: rules.state_of(evidence, m, AT) for m in evidence.drop}
    return rules.verdict_of(evidence, states, AT), states


def test_a_healthy_model():
    assert verdict(HEALTHY_MODEL) == (HEALTHY, {"a": HEALTHY, "b": HEALTHY})


def test_a_starved_model_names_the_modality():
    assert verdict(STARVED_MODEL) == (STARVED, {"a": HEALTHY, "b": STARVED})


def test_an_encoder_that_holds_less_is_not_starved_if_nothing_is_on_the_table():
    assert verdict(replace(STARVED_MODEL, table=near(0.0), gain=near(0.05)))[0] == HEALTHY


def test_what_is_on_the_table_alone_starves_nobody():
    assert verdict(replace(STARVED_MODEL, probe=HEALTHY_MODEL.probe))[1]["b"] == HEALTHY


def test_a_modality_near_chance_that_is_not_used_is_weak():
    evidence = replace(
        HEALTHY_MODEL,
        over_chance={"a": near(0.5), "b": near(0.0)},
        drop={"a": near(0.5), "b": near(0.0)},
    )
    assert verdict(evidence) == (WEAK, {"a": HEALTHY, "b": WEAK})


def test_two_that_tell_something_only_together_are_not_weak():
    evidence = replace(HEALTHY_MODEL, over_chance={"a": near(0.0), "b": near(0.0)})
    assert rules.is_weak(evidence, "a", AT) is False


def test_fusion_harms_where_the_others_know_nothing():
    evidence = replace(
        HEALTHY_MODEL,
        over_chance={"a": near(0.5), "b": near(0.0)},
        gain=near(-0.10),
        table=near(0.09),
    )
    assert verdict(evidence)[0] == HARMS


def test_fusion_harms_where_better_encoders_do_not_mend_it():
    assert verdict(replace(HEALTHY_MODEL, gain=near(-0.10), table=near(0.02)))[0] == HARMS


def test_what_better_encoders_mend_is_starvation_not_harm():
    # AV-Digits: fused far below the image alone, and the ensemble far above the fused.
    evidence = replace(STARVED_MODEL, gain=near(-0.20), table=near(0.17), best="b")
    assert verdict(evidence)[0] == STARVED


@pytest.mark.parametrize("name", ["probe", "over_chance", "drop"])
def test_wide_intervals_of_a_modality_cannot_tell(name):
    wide = {"a": Estimate(0.02, -0.3, 0.3), "b": Estimate(0.02, -0.3, 0.3)}
    nothing = replace(
        STARVED_MODEL, over_chance={"a": near(0.0), "b": near(0.0)}, drop=HEALTHY_MODEL.probe
    )
    evidence = {"probe": STARVED_MODEL}.get(name, nothing)
    assert rules.state_of(replace(evidence, **{name: wide}), "a", AT) == UNCLEAR


def test_a_wide_interval_of_the_gain_cannot_tell():
    assert verdict(replace(HEALTHY_MODEL, gain=Estimate(-0.02, -0.3, 0.3)))[0] == UNCLEAR


def test_what_was_not_measured_cannot_tell():
    nothing = Evidence({"a": None}, {"a": None}, {"a": None}, None, "", None)
    assert verdict(nothing) == (UNCLEAR, {"a": UNCLEAR})


def test_a_difference_has_to_be_large_and_certain():
    assert rules.reaches(near(0.05), 0.03, AT) is True
    assert rules.reaches(near(0.01), 0.03, AT) is False
    assert rules.reaches(Estimate(0.05, -0.06, 0.16), 0.03, AT) is None
    assert rules.reaches(Estimate(0.01, -0.2, 0.2), 0.03, AT) is None
    assert rules.reaches(None, 0.03, AT) is None


def test_three_valued_and_or():
    assert rules.both(False, None) is False
    assert rules.both(True, None) is None
    assert rules.both(True, True) is True
    assert rules.either(True, None) is True
    assert rules.either(False, None) is None
    assert rules.either(False, False) is False
