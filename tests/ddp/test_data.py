"""Which clips each of two processes is given, from a store, from shards and from a URL."""

import pytest
import torch

from ddp.data_worker import EPOCHS

PLACES = ["store 0", "store 2", "shards 0", "shards 2", "url 2"]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("stage", "times"), [("train", EPOCHS), ("val", EPOCHS), ("test", 1)])
def test_ranks_share_no_clip_and_miss_none(readers, place, stage, times):
    ours, theirs = (rank[place]["seen"][stage] for rank in readers)
    clips = readers[0][place]["rows"][stage]
    assert len(clips) % 2 == {"train": 1, "val": 0, "test": 1}[stage]
    assert len(ours) == len(theirs) == times
    for one, other in zip(ours, theirs, strict=True):
        assert len(one) == len(other)
        if len(clips) % 2:
            # One is there twice, so that both have as many batches.
            assert len(set(one) & set(other)) <= 1
            assert len(one) + len(other) == len(clips) + 1
        else:
            assert not set(one) & set(other)
            assert len(set(one)) == len(one) == len(other) == len(set(other))
        assert sorted({*one, *other}) == clips


@pytest.mark.parametrize("place", PLACES)
def test_every_epoch_has_another_order(readers, place):
    for rank in readers:
        one, other = rank[place]["seen"]["train"]
        assert one != other


@pytest.mark.parametrize("place", PLACES)
def test_the_order_is_that_of_any_number_of_workers_and_of_any_place(readers, place):
    of = "store 0" if place.startswith("store") else "shards 0"
    for rank in readers:
        assert rank[place]["seen"] == rank[of]["seen"]
        # Pixels too: crops and mirroring are of seed, epoch and clip.
        assert rank[place]["losses"] == pytest.approx(rank[of]["losses"], rel=1e-6)


@pytest.mark.parametrize("place", PLACES)
def test_both_ranks_hold_the_same_weights(readers, place):
    ours, theirs = (rank[place]["weights"] for rank in readers)
    assert torch.equal(ours, theirs)
