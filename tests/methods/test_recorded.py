"""Every number is what it was when ``record.py`` wrote it down."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

import inforeg_lightning.callbacks as callbacks
from methods import record, record_av_digits

RECORDED = json.loads(record.RECORD.read_text())
RECORDED_AV_DIGITS = json.loads(record_av_digits.RECORD.read_text())


def differences(
    found: Any, recorded: Any, *, rtol: float, atol: float, at: str = ""
) -> Iterator[str]:
    """Where two trees of numbers differ; mappings may have gained keys, but lost none.

    Integers, booleans and ``None`` are equal or differ; floats may be apart by the last bits that
    another processor's order of summation gives.
    """
    if at.endswith("/change"):  # of two almost equal traces, whose error is relative to 1
        atol = max(atol, rtol)
    if isinstance(recorded, Mapping):
        for name, value in recorded.items():
            if name not in found:
                yield f"{at}/{name} is missing"
            else:
                yield from differences(found[name], value, rtol=rtol, atol=atol, at=f"{at}/{name}")
    elif isinstance(recorded, list):
        if len(found) != len(recorded):
            yield f"{at} has {len(found)} entries, not {len(recorded)}"
        for index, (mine, theirs) in enumerate(zip(found, recorded, strict=False)):
            yield from differences(mine, theirs, rtol=rtol, atol=atol, at=f"{at}/{index}")
    elif type(found) is not type(recorded):
        yield f"{at} is {found!r}, not {recorded!r}"
    elif not isinstance(recorded, float):
        if found != recorded:
            yield f"{at} is {found!r}, not {recorded!r}"
    elif not abs(found - recorded) <= atol + rtol * abs(recorded):  # also of a NaN
        yield f"{at} is {found!r}, not {recorded!r}"


def assert_as_recorded(found: Any, recorded: Any, *, rtol: float, atol: float) -> None:
    apart = list(differences(found, recorded, rtol=rtol, atol=atol))
    assert not apart, f"{len(apart)} numbers are not what they were:\n" + "\n".join(apart[:20])


@pytest.mark.parametrize(("method", "set_up"), record.cases(), ids=lambda part: part)
def test_a_training_gives_the_recorded_numbers(method: str, set_up: str):
    recorded = RECORDED[record.key(method, set_up)]
    assert_as_recorded(record.train(method, set_up), recorded, rtol=1e-12, atol=1e-14)


def test_the_record_has_every_case():
    """Whoever adds a method or a set-up writes the record again, and sees that the rest stays."""
    assert [*RECORDED] == [record.key(*case) for case in record.cases()]
    assert [*RECORDED_AV_DIGITS] == [*record_av_digits.CASES]


def test_the_record_has_every_method():
    public = {name for name in callbacks.__all__ if name.endswith("Callback")}
    recorded = set()
    for method, set_up in record.cases():
        of, encoders = (
            record.METHODS[method],
            record.encoder_paths(record.SET_UPS[set_up].modalities),
        )
        recorded.add(type(of.construct(encoders, "head", **of.settings)).__name__)
    # GreedyCallback needs gating modules, which the recorded set-ups have not; it has a reference.
    assert public - {"MethodCallback", "GreedyCallback"} == recorded


@pytest.mark.parametrize(("method", "set_up"), record.cases(), ids=lambda part: part)
def test_a_recorded_method_did_something(method: str, set_up: str):
    """Else its numbers would stay what they were also without it."""
    case = record.key(method, set_up)
    joint = record.key("joint", "momentum" if set_up in record.FOR_ARGUMENTS else set_up)
    untouched = RECORDED[case]["weights"] == RECORDED[joint]["weights"]
    assert untouched == (method == "joint")


def test_a_difference_is_seen_and_a_new_key_is_not_one():
    recorded = {"history": [{"step": 4, "trace": {"audio": 0.5}, "pull": {"audio": None}}]}

    def found(**changes: Any) -> list[str]:
        entry = {"step": 4, "trace": {"audio": 0.5}, "pull": {"audio": None}} | changes
        return list(differences({"history": [entry]}, recorded, rtol=1e-12, atol=1e-14))

    assert not found()
    assert not found(displacement={"audio": 0.1})
    assert not found(trace={"audio": 0.5 * (1 + 1e-13), "video": 1.0})
    assert found(trace={"audio": 0.5 * (1 + 1e-11)})
    assert found(trace={"audio": float("nan")})
    assert found(trace={})
    assert found(pull={"audio": 0.0})
    assert found(step=5)
    assert list(differences({"history": []}, recorded, rtol=1e-12, atol=1e-14))


def test_measuring_changed_no_recorded_weight():
    bare, joint = (RECORDED_AV_DIGITS[case] for case in ("without a callback", "joint"))
    assert bare["weights"] == joint["weights"]
    assert bare["metrics"] == joint["metrics"]


AV_DIGITS = {"rtol": 1e-6, "atol": 1e-7}
"""As for sums of float32 in another order, but not for a training that went another way."""


@pytest.fixture(scope="module")
def av_digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data, where this processor trains as the one that wrote the record."""
    root = tmp_path_factory.mktemp("av_digits")
    bare = "without a callback"
    found = record_av_digits.train(bare, root)
    if any(differences(found, RECORDED_AV_DIGITS[bare], **AV_DIGITS)):
        pytest.skip("without any callback, float32 training on this processor gives other numbers")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("case", [*record_av_digits.CASES][1:])
def test_av_digits_gives_the_recorded_numbers(case: str, av_digits: Path):
    found = record_av_digits.train(case, av_digits)
    assert_as_recorded(found, RECORDED_AV_DIGITS[case], **AV_DIGITS)
