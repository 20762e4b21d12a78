"""The paper's claims: by what rule each gets its word."""

import pytest

from helpers.claims import lift
from running.claims import testing
from running.claims.deciding import CLAIMS, HYPOTHESES, closed, decide, explain


def word(kept, claim):
    return decide(kept["rows"])[claim].word


def test_nothing_holds_of_noise(kept):
    decisions = decide(kept["rows"])
    assert [*decisions] == [*CLAIMS]
    assert {decision.word for decision in decisions.values()} == {"not here"}


@pytest.mark.parametrize(
    ("claim", "one", "other"),
    [
        ("b", "inforeg", "inforeg_star"),
        ("d", "inforeg_sum", "inforeg_film"),
    ],
)
def test_a_claim_holds_in_part_where_some_hypotheses_do(kept, claim, one, other):
    lift(kept, one, 0.1)
    lift(kept, other, -0.1)
    assert word(kept, claim) == "in part"


def test_a_claim_holds_where_all_hypotheses_do(kept):
    for row in ("inforeg", "inforeg_star", "inforeg_sum", "inforeg_gated", "inforeg_film"):
        lift(kept, row, 0.1)
    lift(kept, "inforeg_views", 0.1)
    assert [word(kept, claim) for claim in "bcde"] == ["holds"] * 4


def test_a_difference_the_other_way_is_not_what_is_claimed(kept):
    lift(kept, "inforeg_views", -0.3)
    decision = decide(kept["rows"])["e"]
    assert decision.tests[0].adjusted < 0.001
    assert decision.word == "not here"


@pytest.mark.parametrize(
    ("longer", "found"), [(0.1, "holds"), (0.2, "in part"), (0.3, "in part"), (-0.1, "holds")]
)
def test_longer_training_repairs_where_it_closes_half_of_the_gap(kept, longer, found):
    lift(kept, "image", 0.3, "probe_image")
    lift(kept, "joint_4x", longer, "probe_image")
    assert closed(kept["rows"], "joint_4x") == pytest.approx(longer / 0.3, abs=0.05)
    assert word(kept, "a") == found


def test_without_a_gap_nothing_starves(kept):
    lift(kept, "joint_4x", -0.3, "probe_image")
    assert word(kept, "a") == "not here"


@pytest.mark.parametrize(("best", "found"), [("inforeg", "in part"), ("beta_0.5", "not here")])
def test_a_parameter_that_matters_must_be_best_where_the_paper_has_it(kept, best, found):
    lift(kept, best, 0.1)
    lift(kept, "K_0.1", 0.2)  # so that K's best is elsewhere
    decision = decide(kept["rows"])["f"]
    assert decision.word == found
    assert decision.tests[0].adjusted < 0.05, "β matters in both"


@pytest.mark.parametrize(
    ("of", "found"), [((0.0, 0.0), "holds"), ((0.0, 0.5), "in part"), ((-0.5, 0.5), "not here")]
)
def test_gradients_are_orthogonal_within_a_bound_on_both_sides(kept, of, found):
    for modality, cosine in zip(("audio", "image"), of, strict=True):
        lift(kept, "cosines", cosine - 0.5, f"cosine_{modality}")
    assert word(kept, "g") == found


def test_traces_and_probes_decide_the_last_two(kept):
    lift(kept, "inforeg", 0.5, "trace_image")
    lift(kept, "inforeg", 0.1, "probe_image")
    assert (word(kept, "h"), word(kept, "i")) == ("holds", "holds")


def test_claims_without_rows_or_with_other_seeds_are_not_decided(kept):
    del kept["rows"]["cosines"], kept["rows"]["inforeg_sum"]
    kept["rows"]["joint_views"]["seeds"] = [*range(1, 11)]
    assert set(HYPOTHESES) - set(decide(kept["rows"])) == {"d", "e", "g"}


def test_what_is_not_trained_yet_cannot_make_another_hypothesis_accepted(kept):
    lift(kept, "inforeg", 0.012)
    names = ("joint", "inforeg", "joint_star", "inforeg_star")
    alone = decide({name: kept["rows"][name] for name in names})["b"].tests[0]
    assert alone.adjusted == pytest.approx(16 * alone.p)
    for row in ("inforeg_sum", "inforeg_views"):
        lift(kept, row, 0.3)
    whole = decide(kept["rows"])["b"].tests[0]
    assert whole.p == alone.p
    assert whole.adjusted < alone.adjusted


def test_explanations_are_decided_by_their_predictions(kept):
    found = explain(kept["rows"])
    assert {decision.word for decision in found.values()} == {"not here"}
    lift(kept, "inforeg", 0.1)
    lift(kept, "inforeg_star", -0.1, "probe_audio")
    lift(kept, "joint_star", 0.3, "probe_image")
    lift(kept, "inforeg_star", 0.3, "probe_image")
    found = explain(kept["rows"])
    assert [decision.word for decision in found.values()] == [
        "holds",
        "in part",
        "holds",
        "not here",
    ]
    assert explain({"joint": kept["rows"]["joint"]}) == {}


def test_a_test_without_spread_is_decided_and_not_warned_of():
    assert testing.above_zero("x", "", [0.5, 0.5]).p == 0.0
    assert testing.above_zero("x", "", [0.0, 0.0]).p == 1.0
    assert (
        testing.differ("x", "", {1.0: [0.5, 0.6], 2.0: [0.5, 0.6], 3.0: [0.5, 0.6]}, 1.0).p == 1.0
    )
