"""TorchJD: what is asked of an aggregator, and what is said where there is none."""

import sys

import pytest
import torch

from helpers.modules import Late, encoder_paths
from helpers.regulated import fit
from inforeg_lightning.callbacks import TorchJDCallback


def torchjd(**settings):
    return TorchJDCallback(encoder_paths(), head="head", **{"unimodal_heads": "shared"} | settings)


def test_without_torchjd_the_error_names_the_extra(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "torchjd"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(ImportError, match=r"pip install inforeg-lightning\[torchjd\]"):
        torchjd()
    torchjd(aggregator=lambda jacobian: jacobian.sum(0))  # which needs nothing


def test_an_aggregator_that_cannot_be_called_is_refused():
    with pytest.raises(TypeError, match="`aggregator` must be an aggregator of TorchJD or another"):
        torchjd(aggregator="UPGrad")


def test_an_aggregator_of_another_shape_is_refused_at_the_first_step():
    with pytest.raises(ValueError, match="`aggregator` must return a vector of"):
        fit(Late(), torchjd(aggregator=lambda jacobian: jacobian), max_epochs=1)


def test_row_0_is_of_the_joint_loss_and_the_head_learns_from_all_losses():
    one = {"max_epochs": 1, "limit_train_batches": 1}
    joint = fit(Late(), None, **one)["weights"][0]
    first = fit(Late(), torchjd(aggregator=lambda jacobian: jacobian[0]), **one)["weights"][0]
    for name, weight in joint.items():
        close = torch.allclose(first[name], weight, rtol=0, atol=1e-14)
        assert close == ("encoder" in name), name


def test_a_step_that_is_not_finite_reaches_no_aggregator():
    found = []

    def picky(jacobian):
        found.append(bool(jacobian.isfinite().all()))
        return jacobian.sum(0)

    class Bad(Late):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return loss * (torch.inf if batch_idx == 1 else 1)

        def on_before_optimizer_step(self, optimizer):
            for p in self.parameters():
                p.grad.nan_to_num_(0.0, 0.0, 0.0)

    with pytest.warns(UserWarning, match="1 of 4 steps of period 0"):
        fit(Bad(), torchjd(aggregator=picky), max_epochs=1)
    assert found == [True] * 8
