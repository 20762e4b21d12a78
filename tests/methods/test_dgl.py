"""DGL: who learns from which loss, and that the head sees each batch once."""

import pytest
import torch
from torch import nn

from helpers.modules import CLASSES, Late, encoder_paths, make_batches, snapshot
from helpers.regulated import fit
from inforeg_lightning.callbacks import DGLCallback

ONE_STEP = {"max_epochs": 1, "limit_train_batches": 1}


def dgl(**settings):
    return DGLCallback(encoder_paths(), head="head", **settings)


def test_the_head_learns_as_in_joint_training_and_the_encoders_by_alpha():
    joint = fit(Late(), None, **ONE_STEP)["weights"][0]
    once, twice = (fit(Late(), dgl(alpha=a), **ONE_STEP) for a in (1.0, 2.0))
    for name in ("head.weight", "head.bias"):
        assert torch.equal(once["weights"][0][name], joint[name])
    for name in encoder_paths():
        first, second = (run["history"][0]["trace"][name] for run in (once, twice))
        assert second == pytest.approx(4 * first)


class Undeclared(Late):
    """Its text encoder is not named in `encoders`."""

    def __init__(self):
        super().__init__(3, make_batches(3))


def test_what_belongs_to_no_encoder_keeps_the_gradient_of_the_joint_loss():
    joint = fit(Undeclared(), None, **ONE_STEP)["weights"][0]
    ours = fit(Undeclared(), dgl(), **ONE_STEP)["weights"][0]
    for name in joint:
        same = torch.allclose(ours[name], joint[name], rtol=0, atol=1e-14)
        assert same == name.startswith(("text", "head")), name


class Projected(Late):
    """Between each encoder and the head stands a layer of its own."""

    def __init__(self):
        super().__init__()
        self.projection = nn.Linear(5, 5).double()

    def features(self, batch):
        found = super().features(batch)
        return found | {"audio": self.projection(found["audio"])}


def test_what_lies_between_an_encoder_and_the_head_learns_with_the_encoder():
    torch.manual_seed(0)
    start = snapshot(module := Projected())
    joint_head = fit(module, dgl(alpha=1e-9), **ONE_STEP)["weights"][0]
    # Next to nothing of the unimodal loss, and nothing of the joint one.
    decay = 1 - 0.1 * 1e-4
    torch.testing.assert_close(
        joint_head["projection.weight"], start["projection.weight"] * decay, rtol=0, atol=1e-8
    )
    assert (joint_head["head.weight"] - start["head.weight"]).abs().max() > 1e-3


class NormedHead(Late):
    def make_head(self, width):
        return nn.Sequential(nn.BatchNorm1d(width), nn.Dropout(0.3), nn.Linear(width, CLASSES))


def test_the_head_sees_each_batch_once():
    """Its statistics are of as many batches, and its dropout draws as often, as without."""
    runs = []
    for callback in (None, dgl(alpha=1e-12)):
        torch.manual_seed(0)
        module = NormedHead(lr=1e-9)
        fit(module, callback, max_epochs=2)
        runs.append((module.head[0], torch.rand(1)))
    (plain, draw), (ours, other) = runs
    assert ours.num_batches_tracked == plain.num_batches_tracked == 8
    torch.testing.assert_close(ours.running_var, plain.running_var)
    assert torch.equal(draw, other)


def test_a_module_with_unimodal_losses_of_its_own_is_refused():
    class Own(Late):
        unimodal_losses = True

    with pytest.raises(ValueError, match="Own has unimodal_losses=True, but DGL brings"):
        fit(Own(), dgl(), **ONE_STEP)
    Own.unimodal_losses = False
    fit(Own(), dgl(), **ONE_STEP)


@pytest.mark.parametrize("alpha", [0, -1.0, float("nan"), float("inf")])
def test_an_alpha_out_of_range_is_refused(alpha):
    with pytest.raises(ValueError, match=r"`alpha` must be above 0 \(the authors: 2 to 5\)"):
        dgl(alpha=alpha)
