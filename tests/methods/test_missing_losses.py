"""Methods with losses of their own where batches, or single samples, lack a modality."""

import itertools
import math

import pytest
import torch

from helpers.comparison import assert_close_weights
from helpers.modules import encoder_paths
from helpers.partly import KINDS, Mixing, NotCalled, Partly, partly_batches
from helpers.regulated import fit
from inforeg_lightning.callbacks import (
    AlternatingGreedyCallback,
    AutoBalanceCallback,
    DGLCallback,
    GBlendingCallback,
    MMParetoCallback,
)

MADE = {
    "AlternatingGreedy": (
        AlternatingGreedyCallback,
        {"tolerance": 0.0, "steps": 1, "window": "always"},
    ),
    "AutoBalance": (AutoBalanceCallback, {}),
    "DGL": (DGLCallback, {}),
    "GBlending": (GBlendingCallback, {"super_epoch": 1, "measure": "running"}),
    "MMPareto": (MMParetoCallback, {}),
}
every_one = pytest.mark.parametrize("method", MADE)
WHOLE_BATCHES = [kind for kind in KINDS if kind != "mixed"]


def construct(method, modalities=2, **settings):
    of, usual = MADE[method]
    return of(encoder_paths(modalities), head="head", **usual | settings)


def numbers_of(history):
    return [
        value
        for entry in history
        for of in entry.values()
        if isinstance(of, dict)
        for value in of.values()
    ]


@every_one
def test_a_mask_says_what_an_encoder_that_is_not_called_says(method):
    batches = partly_batches(WHOLE_BATCHES)
    found = []
    for kind, present in ((Partly, "present"), (NotCalled, "present"), (NotCalled, None)):
        module, callback = kind(batches=batches), construct(method, present=present)
        module.val_kinds = WHOLE_BATCHES
        found.append((fit(module, callback, max_epochs=3)["weights"], callback.history))
    (expected, history), *others = found
    for weights, same in others:
        assert_close_weights(weights, expected, atol=1e-12)
        for mine, reference in zip(same, history, strict=True):
            assert {*mine} == {*reference}
            for quantity in {*mine} - {"change", "unimodal_heads"}:
                assert mine[quantity] == pytest.approx(reference[quantity], rel=1e-9, abs=1e-12)


@every_one
@pytest.mark.parametrize("kind", [Partly, NotCalled, Mixing])
@pytest.mark.parametrize(
    "order", [*itertools.permutations(("whole", "audio", "video", "mixed"))][::3]
)
def test_in_whatever_order_batches_come_every_number_is_one(method, kind, order):
    callback = construct(method, present="present")
    module = fit(kind(batches=partly_batches(order)), callback, max_epochs=2)["module"]
    assert all(torch.isfinite(p).all() for p in module.parameters())
    assert all(value is None or math.isfinite(value) for value in numbers_of(callback.history))
    assert [entry["skipped"] for entry in callback.history] == [0, 0]


@pytest.mark.filterwarnings("ignore:.*no sample had text in all of an epoch")
@pytest.mark.filterwarnings("ignore:.*the encoder of text had no gradient in any step")
@pytest.mark.filterwarnings("ignore:.*no sample of a validation has text")
@every_one
@pytest.mark.parametrize("kind", [Partly, NotCalled])
def test_of_three_one_may_never_come(method, kind):
    callback = construct(method, modalities=3, present="present")
    module = kind(3, partly_batches(("audio", "video", "audio", "video"), 3))
    module.val_kinds = ("audio", "video")
    before = module.text_encoder[0].weight.detach().clone()
    fit(module, callback, max_epochs=3)
    assert torch.equal(module.text_encoder[0].weight, before)
    for entry in callback.history:
        assert entry["score"]["text"] is None
        for quantity in callback.method.quantities:
            if quantity != "alone":
                assert entry[quantity]["text"] is None
    assert all(value is None or math.isfinite(value) for value in numbers_of(callback.history))


@every_one
def test_micro_batches_may_differ_in_what_they_have(method):
    callback = construct(method, present="present")
    batches = partly_batches(("audio", "video", "video", "mixed"))
    module = fit(NotCalled(batches=batches), callback, accumulate_grad_batches=2, max_epochs=3)[
        "module"
    ]
    assert all(torch.isfinite(p).all() for p in module.parameters())
    assert all(value is None or math.isfinite(value) for value in numbers_of(callback.history))
    assert all(entry["score"][name] < 0 for entry in callback.history for name in module.names)
