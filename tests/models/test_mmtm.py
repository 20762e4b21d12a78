"""The gating module against its formula, for features with and without places."""

import pytest
import torch

from inforeg_lightning.models import MMTM


def test_it_multiplies_channels_by_gates_made_of_all_means():
    torch.manual_seed(0)
    module = MMTM({"audio": 4, "video": 6}, ratio=4)
    features = {"audio": torch.randn(3, 4, 5, 2), "video": torch.randn(3, 6)}
    found = module(features)
    squeezed = torch.cat([features["audio"].mean((2, 3)), features["video"]], 1)
    hidden = torch.relu(module.squeeze(squeezed))
    assert hidden.shape == (3, 5)
    for name, z in features.items():
        gate = torch.sigmoid(module.excite[name][0](hidden))
        expected = torch.einsum("bc...,bc->bc...", z, gate)
        torch.testing.assert_close(found[name], expected)


@pytest.mark.parametrize("channels", [{"audio": 8}, {"audio": 0, "video": 1}])
def test_too_little_to_exchange_is_refused(channels):
    with pytest.raises(ValueError, match="`channels` must name two or more modalities"):
        MMTM(channels)
