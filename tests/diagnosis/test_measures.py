"""The numbers of a diagnosis, each beside what they should be by hand."""

import itertools

import numpy as np
import pytest

from inforeg_lightning.diagnosis import course, measures, shapley
from inforeg_lightning.diagnosis.intervals import estimate
from inforeg_lightning.diagnosis.setup import ALONE, JOINT, LOSSES, Job, Run

RNG = np.random.default_rng(0)
NAMES = ("a", "b", "c")


def subsets(names):
    for size in range(len(names) + 1):
        yield from map(frozenset, itertools.combinations(names, size))


def test_shapley_shares_are_the_mean_over_orders():
    values = {s: RNG.normal(size=5) for s in subsets(NAMES)}
    shares = shapley.shapley(values, NAMES)
    for name in NAMES:
        added = [
            values[frozenset(order[: order.index(name) + 1])]
            - values[frozenset(order[: order.index(name)])]
            for order in itertools.permutations(NAMES)
        ]
        np.testing.assert_allclose(shares[name], np.mean(added, axis=0))
    np.testing.assert_allclose(sum(shares.values()), values[frozenset(NAMES)] - values[frozenset()])


def test_interactions_of_two_that_tell_something_only_together_and_of_copies():
    def of(value):
        return shapley.shapley_interactions({s: value(s) for s in subsets("ab")}, "ab")["a", "b"]

    assert of(lambda s: float(len(s) == 2)) == 1.0
    assert of(lambda s: float(len(s) > 0)) == -1.0
    assert of(lambda s: float(len(s))) == 0.0


def test_the_interaction_of_three_is_the_mean_over_orders_as_well():
    # Of weights 1/2 each for the subsets of the third: checked against Grabisch and Roubens 1999.
    values = {s: RNG.normal() for s in subsets(NAMES)}
    f = {"".join(sorted(s)): v for s, v in values.items()}
    expected = 0.5 * (f["ab"] - f["a"] - f["b"] + f[""]) + 0.5 * (
        f["abc"] - f["ac"] - f["bc"] + f["c"]
    )
    assert shapley.shapley_interactions(values, NAMES)["a", "b"] == pytest.approx(expected)


def test_an_interval_over_samples_is_that_of_a_mean():
    x = RNG.normal(size=(1, 400))
    found = estimate(np.concatenate([x, x]))
    half = 1.966 * x.std(ddof=1) / 20
    assert found.value == pytest.approx(x.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.01)


def test_seeds_that_differ_widen_the_interval_and_seeds_that_agree_do_not():
    samples = RNG.normal(size=(1, 400))
    alike = estimate(samples + np.zeros((2, 1)))
    apart = estimate(samples + np.array([[-1.0], [0.0], [1.0]]))
    assert alike.high - alike.low == pytest.approx(
        estimate(samples + np.zeros((5, 1))).high - estimate(samples + np.zeros((5, 1))).low
    )
    # A t interval of three seeds: 4.30 · 1 / √3 on either side.
    assert (apart.high - apart.low) / 2 == pytest.approx(2.48, rel=0.05)


def test_a_single_seed_is_not_taken_for_certain():
    same = np.ones((1, 400))
    half = 1.96 * measures_spread()
    assert estimate(same).low == pytest.approx(1 - half, abs=1e-3)


def measures_spread():
    from inforeg_lightning.diagnosis.intervals import ONE_SEED

    return ONE_SEED


def test_an_interval_covers_the_truth_as_often_as_it_says():
    draws = RNG.normal(size=(300, 4, 50)) + RNG.normal(size=(300, 4, 1)) * 0.5
    draws = draws + RNG.normal(size=(300, 1, 50))
    hit = [e.low <= 0 <= e.high for e in map(estimate, draws)]
    assert np.mean(hit) > 0.9


def logits(hits, target, classes=2):
    """Logits that are right where ``hits`` says so."""
    answer = np.where(hits, target, 1 - target)
    return 2.0 * np.eye(classes)[answer]


def run(kind, modality, hits, target, seed=0, **arrays):
    found = {f"{s} target": target for s in ("validation", "test")}
    found |= {f"{s} logits": logits(hits, target) for s in ("validation", "test")}
    return Run(Job(kind, seed, modality), {}, found | arrays)


def runs_of(fused, alone, losses, target):
    """Runs of two modalities whose hits are given; the joint model uses ``a`` alone."""
    nothing = logits(np.zeros_like(target, dtype=bool), target)
    joint = run(
        JOINT,
        "",
        fused,
        target,
        **{
            "only ": nothing,
            "only a": logits(fused, target),
            "only b": nothing,
            "permuted a": nothing,
            "permuted b": logits(fused, target),
            "same class a": np.zeros(len(target), dtype=bool),
            "same class b": np.zeros(len(target), dtype=bool),
            "probe a": target,
            "probe b": 1 - target,
        },
    )
    return [
        joint,
        *(run(ALONE, m, h, target, **{f"probe {m}": target}) for m, h in alone.items()),
        run(LOSSES, "", losses, target),
    ]


TARGET = np.tile([0, 1], 50)
FIRST = np.arange(100) < 90
LAST = np.arange(100) >= 20


def test_the_numbers_that_rules_read():
    found = measures.measure(
        runs_of(FIRST, {"a": FIRST, "b": LAST}, np.ones(100, bool), TARGET), ["a", "b"]
    )
    evidence = found.evidence
    assert evidence.best == "a"
    assert evidence.gain.value == pytest.approx(0.0)
    assert found.remedy == "unimodal losses"
    assert evidence.table.value == pytest.approx(0.1)
    assert evidence.probe["a"].value == 0.0
    assert evidence.probe["b"].value == -1.0
    assert evidence.drop["a"].value == pytest.approx(0.9)
    assert evidence.drop["b"].value == 0.0
    assert evidence.over_chance["b"].value == pytest.approx(0.3)
    assert found.shares["a"].value == pytest.approx(0.9)
    assert found.shares["b"].value == 0.0
    assert found.notes == []


def test_the_better_remedy_is_chosen_on_validation_not_on_test():
    runs = runs_of(FIRST, {"a": FIRST, "b": LAST}, np.ones(100, bool), TARGET)
    runs[-1].arrays["validation logits"] = logits(np.zeros(100, bool), TARGET)
    found = measures.measure(runs, ["a", "b"])
    assert found.remedy == "ensemble"
    assert found.evidence.table.value < 0.1


def test_a_run_that_failed_is_a_note_and_the_rest_is_measured():
    runs = runs_of(FIRST, {"a": FIRST, "b": LAST}, FIRST, TARGET)
    runs[1].info["problem"] = "a alone, seed 0: NaN"
    found = measures.measure(runs, ["a", "b"])
    assert found.notes == ["a alone, seed 0: NaN"]
    assert found.evidence.gain is None
    assert found.evidence.over_chance["a"] is None
    assert found.evidence.drop["a"].value == pytest.approx(0.9)
    assert found.accuracy["fused"].value == pytest.approx(0.9)


def test_a_test_set_in_the_order_of_its_classes_is_noted():
    runs = runs_of(FIRST, {"a": FIRST, "b": LAST}, FIRST, TARGET)
    for m in "ab":
        runs[0].arrays[f"same class {m}"] = np.ones(100, bool)
    (note,) = measures.measure(runs, ["a", "b"]).notes
    assert "shuffle the test set once" in note


def test_a_run_with_its_samples_in_another_order_is_left_out_and_noted():
    runs = runs_of(FIRST, {"a": FIRST, "b": LAST}, FIRST, TARGET)
    runs[-1].arrays["test target"] = 1 - TARGET
    found = measures.measure(runs, ["a", "b"])
    assert "do not shuffle" in found.notes[0]
    assert "unimodal losses" not in found.accuracy


def test_more_modalities_than_can_be_computed_have_sampled_shares_and_no_interactions():
    runs = runs_of(FIRST, {"a": FIRST, "b": LAST}, FIRST, TARGET)
    found = measures.measure(runs, ["a", "b"], exact_up_to=1)
    exact = measures.measure(runs, ["a", "b"])
    for name in "ab":  # of two modalities, one order and its reverse are all orders
        assert found.shares[name].value == pytest.approx(exact.shares[name].value)
    assert found.interactions == {}
    assert "Shapley shares are sampled: 2 modalities have 4 subsets" in found.notes[0]


def test_sampled_shares_are_near_the_exact_ones_and_their_intervals_hold_them():
    rng = np.random.default_rng(5)
    names = tuple("abcdefgh")
    alone = {name: rng.uniform(0.0, 0.2, size=(1, 50)) for name in names}

    def value(kept):
        """Accuracy that saturates, so that orders differ, and noise of the samples."""
        return 1 - np.prod([1 - alone[m] for m in kept], axis=0) + np.zeros((1, 50))

    exact = shapley.shapley({s: value(s) for s in subsets(names)}, names)
    asked = [*map(frozenset, shapley.subsets_of(names, 6)), frozenset(names)]
    assert len(asked) < 2**8 / 2
    sampled = shapley.sampled_shapley({s: value(s) for s in asked}, names)
    for name in names:
        found, truth = sampled[name], exact[name].mean()
        assert found.value == pytest.approx(truth, abs=0.01)
        assert found.low <= truth <= found.high
    assert sum(x.value for x in sampled.values()) == pytest.approx(
        value(names).mean() - value(()).mean()
    )


def test_orders_that_differ_widen_the_interval_of_a_sampled_share():
    names = tuple("abcdefgh")
    asked = [*map(frozenset, shapley.subsets_of(names, 6)), frozenset(names)]
    lucky = {s: np.full((2, 30), float({"a", "b", "c"} <= s)) for s in asked}
    found = shapley.sampled_shapley(lucky, names)
    assert found["a"].high > found["a"].value
    assert found["d"].low == found["d"].high == 0.0


def test_a_branch_that_is_too_sure_of_itself_is_badly_calibrated():
    target = np.tile([0, 1], 50)
    sure = np.log(np.where(np.eye(2)[target] > 0, 0.999, 0.001))
    wrong = sure[:, ::-1].copy()
    assert measures.calibration_error([sure], target) < 0.01
    assert measures.calibration_error([wrong], target) > 0.9


def test_the_epoch_by_which_a_trace_has_fallen_to_a_fifth_of_its_peak():
    runs = runs_of(FIRST, {"a": FIRST, "b": LAST}, FIRST, TARGET)
    traces = [(1.0, 1.0), (4.0, 1.0), (2.0, 1.0), (0.7, 1.0)]
    runs[0].info["history"] = [{"trace": {"a": a, "b": b}} for a, b in traces]
    found = measures.measure(runs, ["a", "b"]).course
    assert course.trace_fell(found, "a") == 4
    assert course.trace_fell(found, "b") is None


def test_since_when_a_signal_share_is_below_a_fifth_and_the_agreement_then():
    runs = runs_of(FIRST, {"a": FIRST, "b": LAST}, FIRST, TARGET)
    shares = [(0.9, 0.9), (0.1, 0.8), (0.3, 0.7), (0.2, 0.6), (None, 0.5), (0.1, 0.4)]
    runs[0].info["monitor"] = [
        {"share": {"a": a, "b": b}, "agreement": {"a": 0.1 * t, "b": None}}
        for t, (a, b) in enumerate(shares)
    ]
    found = measures.measure(runs, ["a", "b"]).course
    assert course.share_fell(found, "a") == 4  # it had recovered from its second epoch
    assert course.share_fell(found, "b") is None
    assert course.agreement_at(found, "a", 4) == pytest.approx(0.3)
    assert course.agreement_at(found, "b", 4) is None
    assert course.trace_fell(found, "a") is None


def test_what_is_measured_since_when_is_the_mean_over_seeds():
    runs = runs_of(FIRST, {"a": FIRST, "b": LAST}, FIRST, TARGET)
    second = run(JOINT, "", FIRST, TARGET, seed=1, **runs[0].arrays)
    for one, share in ((runs[0], 0.2), (second, 0.6)):
        one.info["monitor"] = [{"share": {"a": share}, "agreement": {"a": share}}]
    found = course.course_of([runs[0], second], ["a"])
    assert found["share"]["a"] == [pytest.approx(0.4)]
