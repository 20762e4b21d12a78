"""Two processes with FSDP2 (ModelParallelStrategy) against one process."""

import pytest

from ddp.worker import Sampled, SampledPerceptron, callback, make_samples, train
from helpers.comparison import assert_close
from helpers.modules import assert_same_weights, encoder_paths
from inforeg_lightning import InfoRegCallback


def test_sharded_training_is_that_of_one_process(ranks):
    """Norms are those of all shards: the window decides alike."""
    one = train(Sampled(make_samples(34), 8), callback())
    assert_close(ranks[0]["sharded"], one)
    assert_close(ranks[1]["sharded"], one)


def test_the_official_trace_is_that_of_all_shards(ranks):
    inforeg = InfoRegCallback.official(encoder_paths(), head="head")
    assert_close(ranks[0]["sharded official"], train(Sampled(make_samples(34), 8), inforeg))


def test_a_sharded_head_that_is_not_linear_is_run_whole(ranks):
    one = train(SampledPerceptron(make_samples(34), 8), callback(window="always"))
    assert_close(ranks[0]["sharded perceptron"], one)


def test_each_process_keeps_the_anchors_of_its_shards_only(ranks):
    held = [rank["sharded anchors"]["anchors"][-1] for rank in ranks]
    for modality in ("audio", "video"):
        for (ours, size), (theirs, _) in zip(held[0][modality], held[1][modality], strict=True):
            assert ours + theirs == size
            assert 0 < theirs <= ours < size


@pytest.mark.parametrize("rank", [0, 1])
def test_a_resumed_run_is_the_uninterrupted_one(ranks, rank):
    """From a sharded checkpoint inside a period, whose anchors are saved whole."""
    resumed = ranks[rank]["sharded resumed"]
    whole = ranks[rank]["sharded uninterrupted"]
    assert resumed["history"] == whole["history"]
    assert_same_weights(resumed["weights"][-1], whole["weights"][-1])
