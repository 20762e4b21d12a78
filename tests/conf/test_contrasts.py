"""Rows against one baseline: intervals and tests that hold for all of them at once."""

import numpy as np
import pytest
from scipy import stats

from running.contrasts import contrasts, mean_ranks


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    base = rng.normal(0.7, 0.05, 10)
    drawn = {
        "joint": base,
        "better": base + rng.normal(0.1, 0.02, 10),
        "same": base + rng.normal(0.0, 0.02, 10),
        "worse": base - rng.normal(0.05, 0.02, 10),
    }
    return {name: dict(enumerate(values.tolist())) for name, values in drawn.items()}


def test_p_is_the_paired_test_adjusted_step_by_step(rows):
    found = contrasts(rows, "joint")
    joint = [*rows["joint"].values()]
    raw = {n: stats.ttest_rel([*rows[n].values()], joint).pvalue for n in found}
    least, middle, most = sorted(raw, key=raw.__getitem__)
    assert found[least].p == pytest.approx(3 * raw[least])
    assert found[middle].p == pytest.approx(max(2 * raw[middle], 3 * raw[least]))
    assert found[most].p == pytest.approx(raw[most])


def test_intervals_are_wider_the_more_rows_there_are(rows):
    three = contrasts(rows, "joint")["better"].difference
    one = contrasts({n: rows[n] for n in ("joint", "better")}, "joint")["better"].difference
    assert three.mean == one.mean
    t = stats.t.ppf(1 - 0.025 / np.array([3, 1]), 9)
    assert three.half_width / one.half_width == pytest.approx(t[0] / t[1])


def test_the_effect_is_in_standard_deviations_of_the_differences(rows):
    differences = [rows["better"][s] - rows["joint"][s] for s in range(10)]
    effect = contrasts(rows, "joint")["better"].effect
    assert effect == pytest.approx(np.mean(differences) / np.std(differences, ddof=1))


def test_verdicts(rows):
    found = {name: contrast.verdict() for name, contrast in contrasts(rows, "joint").items()}
    assert found == {"better": "gains", "same": "undecided", "worse": "loses"}


def test_a_row_that_is_the_baseline_shows_no_difference(rows):
    found = contrasts({"joint": rows["joint"], "copy": rows["joint"]}, "joint")["copy"]
    assert (found.p, found.effect, found.verdict()) == (1.0, 0.0, "undecided")


def test_rows_with_other_seeds_are_refused(rows):
    rows["same"].pop(3)
    with pytest.raises(ValueError, match=r"rows\['same'\] must have the seeds"):
        contrasts(rows, "joint")
    with pytest.raises(ValueError, match="at least 2 seeds"):
        contrasts({"joint": {0: 0.5}, "a": {0: 0.6}}, "joint")


def test_ranks_are_over_the_seeds_and_one_is_the_best(rows):
    ranks, p = mean_ranks(rows)
    assert min(ranks, key=ranks.__getitem__) == "better"
    assert sum(ranks.values()) == pytest.approx(1 + 2 + 3 + 4)
    assert p < 0.001
    with pytest.raises(ValueError, match="at least 3"):
        mean_ranks({name: rows[name] for name in ("joint", "same")})
