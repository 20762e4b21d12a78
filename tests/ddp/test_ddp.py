"""Two processes with DDP against one process on the same global batches."""

import pytest

from ddp.worker import EPOCHS, Sampled, callback, make_samples, train
from helpers.comparison import assert_close, assert_opens_and_closes
from helpers.modules import Late, assert_same_weights, make_batches

SETUPS = ["uneven", "padded", "opposed", "accumulated", "unequal", "infinite", "resumed"]


@pytest.mark.parametrize("setup", SETUPS)
def test_both_ranks_hold_the_same_weights_after_every_epoch(ranks, setup):
    ours, theirs = (rank[setup] for rank in ranks)
    assert len(ours["weights"]) == len(theirs["weights"]) > 0
    for mine, other in zip(ours["weights"], theirs["weights"], strict=True):
        assert_same_weights(mine, other)
    assert ours["history"] == theirs["history"]


def test_two_processes_are_one_on_the_same_global_batches(ranks):
    one = train(Sampled(make_samples(34), 8), callback())
    assert_opens_and_closes(one["history"])
    assert_close(ranks[0]["uneven"], one)


def test_a_padded_last_batch_counts_what_was_trained_on(ranks):
    samples = make_samples(33)
    assert_close(ranks[0]["padded"], train(Sampled([*samples, samples[0]], 8), callback()))


def test_the_strength_is_that_of_the_global_batch_when_ranks_disagree(ranks):
    samples = make_samples(32, opposed=True)
    halves = [train(Sampled(samples[rank::2], 4), callback(window="never")) for rank in (0, 1)]
    gaps = [half["history"][-1]["gap"] for half in halves]
    assert gaps[0]["audio"] > gaps[0]["video"]
    assert gaps[1]["audio"] < gaps[1]["video"], "each rank must hold another modality stronger"

    one = train(Sampled(samples, 8), callback(window="always"))
    assert_close(ranks[0]["opposed"], one)


def test_accumulation_on_two_processes_is_the_large_batch(ranks):
    assert_close(ranks[0]["accumulated"], train(Sampled(make_samples(32), 8), callback()))


def test_samples_count_alike_in_batches_of_unequal_size(ranks):
    """The score is the mean over all samples, not the mean of the ranks' means."""
    batches = make_batches()[:1]
    one = train(Late(batches=batches), callback(window="always"), max_epochs=1)
    (two,) = ranks[0]["unequal"]["history"]
    assert two["score"] == pytest.approx(one["history"][0]["score"], rel=1e-12)


def test_all_ranks_leave_a_step_alone_if_the_loss_of_one_is_infinite(ranks):
    for rank in ranks:
        assert [entry["skipped"] for entry in rank["infinite"]["history"]] == [1] * EPOCHS


def test_a_resumed_run_is_the_uninterrupted_one(ranks):
    resumed, whole = ranks[0]["resumed"], ranks[0]["uninterrupted"]
    assert resumed["history"] == whole["history"]
    assert_same_weights(resumed["weights"][-1], whole["weights"][-1])
