"""One training in a bare loop, Fabric, Accelerate, the Hugging Face Trainer and Lightning."""

import pytest
import torch
from torch import nn

from helpers.loops import LOOPS, SetUp, bare, without_displacement

SET_UPS = {
    "paper": SetUp("paper"),
    "always": SetUp("always"),
    "official": SetUp("official", epochs=7),
    "ogm": SetUp("ogm"),
    "accumulated": SetUp("always", accumulate=2),
    "accumulated ogm": SetUp("ogm", accumulate=3),
    "by steps": SetUp("always", period=4),
    "accumulated by steps": SetUp("always", accumulate=2, period=2),
    "three modalities": SetUp("always", modalities=3),
    "perceptron": SetUp("always", linear=False),
    "three in a perceptron": SetUp("ogm", modalities=3, linear=False),
    "reported": SetUp("always", reports=True),
    "reported, accumulated": SetUp("paper", reports=True, accumulate=2),
}
others = pytest.mark.parametrize("loop", [name for name in LOOPS if name != "bare"])


def assert_same(ours, theirs):
    assert len(ours.weights) == len(theirs.weights)
    for mine, other in zip(ours.weights, theirs.weights, strict=True):
        for name in mine:
            torch.testing.assert_close(mine[name], other[name], rtol=0, atol=1e-12)
    assert len(ours.history) == len(theirs.history)
    for mine, other in zip(ours.history, theirs.history, strict=True):
        assert mine.keys() == other.keys()
        for quantity, values in mine.items():
            if isinstance(values, dict):
                for modality, value in values.items():
                    expected = other[quantity][modality]
                    if expected is not None:
                        expected = pytest.approx(expected, rel=1e-9, abs=1e-12)
                    assert value == expected, (quantity, modality)
            else:
                assert values == other[quantity], quantity


def differ(ours, theirs):
    last = zip(ours.weights[-1].values(), theirs.weights[-1].values(), strict=True)
    return max((a - b).abs().max().item() for a, b in last) > 1e-3


@others
@pytest.mark.parametrize("set_up", SET_UPS.values(), ids=SET_UPS)
def test_every_loop_reaches_the_weights_of_the_bare_one(set_up, loop):
    assert_same(LOOPS[loop](set_up), bare(set_up))


@pytest.mark.parametrize("set_up", SET_UPS.values(), ids=SET_UPS)
def test_the_set_up_is_one_in_which_the_method_acts(set_up, monkeypatch):
    acted = bare(set_up)
    monkeypatch.setattr("inforeg_lightning.engine.engine.Engine.before_step", lambda *_: None)
    with pytest.warns(UserWarning, match="never made"):
        left_alone = bare(set_up)
    assert differ(acted, left_alone)


@others
def test_clipping_comes_before_the_pull_in_all_loops_but_lightning(loop):
    set_up = SetUp("always", clip=0.3)
    assert differ(bare(set_up), bare(SetUp("always"))), "nothing is clipped"
    if loop == "lightning":
        assert differ(LOOPS[loop](set_up), bare(set_up))
    else:
        assert_same(LOOPS[loop](set_up), bare(set_up))


def test_clipping_comes_after_the_pull_in_lightning():
    """As in a bare loop whose optimizer clips, and so after the hooks before its step."""
    set_up = SetUp("always", clip=0.3)

    class Clipping(torch.optim.SGD):
        def step(self, closure=None):
            nn.utils.clip_grad_norm_(self.param_groups[0]["params"], set_up.clip)
            return super().step(closure)

    class ClippedInside(SetUp):
        def sgd(self, net):
            return Clipping(net.parameters(), 0.1, self.momentum, weight_decay=1e-3)

    ours, theirs = LOOPS["lightning"](set_up), bare(ClippedInside("always"))
    for trained in (ours, theirs):
        trained.history = without_displacement(trained.history)
    assert_same(ours, theirs)
