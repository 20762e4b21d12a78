"""Two places with the same clips."""

import numpy as np
import torch

from inforeg_lightning.data.store.clips import Clips


def assert_same_clips(one: Clips, other: Clips) -> None:
    assert one.names.tolist() == other.names.tolist()
    assert one.labels.tolist() == other.labels.tolist()
    assert one.groups.tolist() == other.groups.tolist()
    assert one.splits.tolist() == other.splits.tolist()
    assert one.settings == other.settings
    assert one.rejected == other.rejected
    for i in range(len(one)):
        assert one.frame_size(i) == other.frame_size(i)
        np.testing.assert_array_equal(one.audio(i), other.audio(i))
        which = range(one.frame_count(i))
        assert torch.equal(one.frames(i, which), other.frames(i, which))
