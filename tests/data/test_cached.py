"""A damaged cache of a digit data set is never trained from."""

import numpy as np
import torch

from inforeg_lightning.data.digits.cached import read_arrays


def test_every_flipped_bit_is_found_or_changes_nothing(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "train/image": rng.standard_normal((3, 1, 4, 4)).astype(np.float16),
        "train/label": np.arange(3),
    }
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    content, whole = path.read_bytes(), read_arrays(path)
    assert set(whole) == set(arrays)
    refused = 0
    for place in range(len(content)):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        found = read_arrays(path)
        # Names that are lost are refused by the data module, which knows which there must be.
        if found is None or set(found) != set(whole):
            refused += 1
        else:
            assert all(torch.equal(found[key], whole[key]) for key in whole), place
    assert refused > len(content) / 2
