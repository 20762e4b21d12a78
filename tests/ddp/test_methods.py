"""Every method on two processes with DDP against one process on the same global batches."""

import pytest
import torch

from ddp.worker import METHOD_EPOCHS, Sampled, make_samples, train
from helpers.comparison import assert_close_weights
from helpers.methods import every_method
from helpers.modules import assert_same_weights


@every_method
def test_both_ranks_hold_the_same_weights_after_every_epoch(ranks, method):
    ours, theirs = (rank[str(method)] for rank in ranks)
    assert len(ours["weights"]) == METHOD_EPOCHS
    for mine, other in zip(ours["weights"], theirs["weights"], strict=True):
        assert_same_weights(mine, other)
    assert ours["history"] == theirs["history"]
    assert_same_weights(ours["heads"], theirs["heads"])


@every_method
def test_two_processes_are_one_on_the_same_global_batches(ranks, method):
    """Of each global batch one rank's half shows its label in audio, the other's in video."""
    torch.manual_seed(0)
    samples = make_samples(32, opposed=True)
    one = train(Sampled(samples, 8), method(), max_epochs=METHOD_EPOCHS)
    two = ranks[0][str(method)]
    assert_close_weights(two["weights"], one["weights"])
    assert_close_weights([two["heads"]], [one["heads"]])
    assert bool(two["heads"]) == method.makes_heads
    for mine, reference in zip(two["history"], one["history"], strict=True):
        for quantity in method.quantities:
            for modality, value in reference[quantity].items():
                expected = value if value is None else pytest.approx(value, rel=1e-8, abs=1e-12)
                assert mine[quantity][modality] == expected, (quantity, modality)
