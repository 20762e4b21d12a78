"""Each rule of the suspicions, by numbers on either side of its threshold."""

from dataclasses import replace

import pytest

from inforeg_lightning.diagnosis import SuspicionThresholds
from inforeg_lightning.diagnosis.suspicions import (
    Seen,
    fusion_harms,
    goes_without,
    is_starved,
    is_wasteful,
    is_weak,
    seen_of,
    state_of,
    suspect,
    verdict_of,
)

AT = SuspicionThresholds()
SOUND = Seen(share=0.5, agreement=0.8, probe=0.4, best_probe=0.4, drop=0.2, margin=-0.1)


def said(**seen):
    states = {m: state_of(seen, m, AT) for m in seen}
    return verdict_of(seen, states, AT), states


def test_nothing_against_it_is_healthy():
    assert said(a=SOUND, b=SOUND) == ("healthy", {"a": "healthy", "b": "healthy"})


def test_little_signal_alone_is_no_suspicion():
    assert said(a=SOUND, b=replace(SOUND, share=0.01))[0] == "healthy"


def test_weak_is_near_chance_in_all_epochs_and_not_used():
    weak = replace(SOUND, probe=0.0, best_probe=0.01, drop=0.0)
    assert is_weak(weak, AT)
    assert not is_weak(replace(weak, best_probe=0.2), AT)
    assert not is_weak(replace(weak, drop=0.4), AT)  # what tells something only together
    assert said(a=SOUND, b=weak) == ("weak by nature", {"a": "healthy", "b": "weak by nature"})


def test_starved_is_the_least_signal_where_an_encoder_beats_the_model():
    wasted = replace(SOUND, margin=0.1, probe=0.5, share=0.05)
    other = replace(SOUND, share=0.1)
    assert is_wasteful({"a": other, "b": wasted}, AT)
    assert said(a=other, b=wasted) == ("starved", {"a": "healthy", "b": "starved"})
    assert not is_starved({"a": other, "b": replace(wasted, share=0.5)}, "b", AT)
    assert not is_starved({"a": other, "b": replace(wasted, margin=0.0)}, "b", AT)


def test_noise_that_gets_no_signal_is_not_who_goes_without():
    noise = replace(SOUND, probe=0.0, best_probe=0.0, drop=0.0, share=0.01)
    assert goes_without({"a": noise, "b": replace(SOUND, share=0.1)}, "b", AT)


def test_fusion_harms_where_the_model_loses_nothing_by_the_others():
    best = replace(SOUND, margin=0.1, probe=0.5)
    assert fusion_harms({"a": replace(SOUND, drop=0.0), "b": best}, AT)
    assert not fusion_harms({"a": SOUND, "b": best}, AT)
    assert not fusion_harms({"a": replace(SOUND, drop=0.0), "b": SOUND}, AT)


@pytest.mark.parametrize("missing", ["best_probe", "drop"])
def test_what_was_not_measured_cannot_tell(missing):
    weak = replace(SOUND, probe=0.0, best_probe=0.0, drop=0.0)
    assert said(a=SOUND, b=replace(weak, **{missing: None}))[1]["b"] == "cannot tell"


def test_numbers_are_of_the_last_epoch_that_measured_them():
    entry = {
        "epoch": 0,
        "skipped": 0,
        "share": {"a": 0.9},
        "agreement": {"a": 0.5},
        "probe": {"a": 0.6},
        "drop": {"a": 0.1},
        "fused": 0.7,
        "largest_class": 0.3,
    }
    later = {**entry, "epoch": 1, "share": {"a": 0.2}, "probe": {"a": 0.5}, "drop": {"a": None}}
    found = seen_of([entry, later], "a")
    assert found == Seen(0.2, 0.5, pytest.approx(0.2), pytest.approx(0.3), 0.1, pytest.approx(-0.2))
    verdict = suspect([entry, later], ["a"], AT)
    assert verdict.verdict == "healthy"
    assert "70 %" in verdict.sentence
