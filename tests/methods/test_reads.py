"""No method makes the host wait for the device inside a step."""

import pytest
import torch

from helpers.methods import every_method
from helpers.modules import Late, make_batches
from helpers.precision import in_single
from helpers.reading import NOTHING, Deep, reads


@every_method
@pytest.mark.parametrize(("make", "window"), [(Late, "always"), (Deep, (1, 3)), (Late, "never")])
def test_a_step_reads_nothing(method, make, window):
    torch.manual_seed(0)
    assert reads(make(3, make_batches(3)), method(3, window=window)) == NOTHING


@every_method
@pytest.mark.parametrize(
    "settings",
    [
        {"accumulate_grad_batches": 2},
        {"precision": "bf16-mixed"},
        {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "value"},
    ],
    ids=str,
)
def test_other_trainers(method, settings):
    def make():
        return Late(3, in_single(make_batches(3))).float()

    assert reads(make(), method(3), **settings) == reads(make(), **settings)
