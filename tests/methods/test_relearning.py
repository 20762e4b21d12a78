"""What is particular to Diagnosing & Re-learning: when it returns, what it keeps, what it needs."""

import importlib.util
import math

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from helpers.modules import Late, assert_same_weights, encoder_paths, make_batches, snapshot
from helpers.regulated import fit
from helpers.resuming import Inside, Resumable
from inforeg_lightning.callbacks import ReLearningCallback
from inforeg_lightning.methods import ReLearning
from inforeg_lightning.methods._clusters import cluster


class Validated(Late):
    def validation_step(self, batch, batch_idx):
        self(batch)

    def val_dataloader(self):
        return torch.utils.data.DataLoader(make_batches(batches=2, seed=7), batch_size=None)


class Resumed(Resumable):
    validation_step = Validated.validation_step
    val_dataloader = Validated.val_dataloader


class Normed(Validated):
    def make_encoder(self, inputs, width):
        return nn.Sequential(nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Linear(8, width))


PRESENT = "has"


def relearning(**settings):
    return ReLearningCallback(encoder_paths(), head="head", **{"every": 1} | settings)


def returned(callback):
    """The epochs that ended with a return."""
    return [e["epoch"] for e in callback.history if any(e["strength"].values())]


# Lightning's, when the Trainer that goes on has no ModelCheckpoint, and torchdata 0.11's.
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("at_epoch_end", [True, False])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, at_epoch_end):
    """Also from between the validation and the end of its epoch, as by ``False``."""
    whole = relearning(every=2)
    end = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, save_on_train_epoch_end=at_epoch_end)
    expected = fit(
        Resumed(), whole, Inside(tmp_path, every=5), end, enable_checkpointing=True, max_epochs=4
    )["module"]
    assert returned(whole) == [2]
    for step in (10, 15, 18):  # six steps an epoch: within the second and third, at its end
        callback = relearning(every=2)
        module = fit(Resumed(), callback, ckpt_path=tmp_path / f"step={step}.ckpt", max_epochs=4)
        assert callback.history == whole.history, step
        assert_same_weights(snapshot(module["module"]), snapshot(expected))


@pytest.mark.parametrize(
    ("settings", "epochs"),
    [
        ({"every": 2, "times": 2}, [2, 4]),
        ({"every": 3}, [3, 6]),
        ({"every": 2, "window": (0, 4)}, [2]),
        ({"every": 2, "window": (3, None)}, [4, 6]),
        ({"every": 3, "period": 4}, [4, 7]),  # known in the period after the epoch
    ],
)
def test_when_it_returns(settings, epochs):
    callback = relearning(**settings)
    fit(Validated(), callback, max_epochs=8)
    assert returned(callback) == epochs


@pytest.mark.filterwarnings("ignore:.*had no validation. the return waits")
def test_a_return_waits_for_a_validation():
    callback = relearning(every=2)
    fit(Validated(), callback, max_epochs=6, check_val_every_n_epoch=2)
    assert returned(callback) == [3, 5]


def test_head_and_running_statistics_stay():
    """An encoder that went all the way back is the initial one."""
    module = Normed(lr=0.05)
    start = {name: value.clone() for name, value in module.state_dict().items()}
    callback = relearning(lam=1e6, times=1)
    fit(module, callback, max_epochs=2)
    (strength,) = (e["strength"] for e in callback.history if any(e["strength"].values()))
    assert 1.0 in strength.values()
    parameters = dict(module.named_parameters())
    for name, value in module.state_dict().items():
        returns = name in parameters and strength.get(name.split("_")[0]) == 1.0
        assert torch.equal(value, start[name]) == returns, name


def test_samples_without_a_modality_do_not_count():
    """Of half the samples audio is noise; where these are said to lack it, it is pure again."""

    class Halved(Validated):
        def __init__(self):
            super().__init__(lr=0.0, momentum=0.0)
            generator = torch.Generator().manual_seed(1)
            for batch in self.batches:
                batch["audio"][:, :3] += 10 * nn.functional.one_hot(batch["label"], 3)
                batch["audio"][::2].normal_(generator=generator)
                of = torch.arange(len(batch["label"]))
                batch[PRESENT] = {"audio": of % 2 == 1}

    purity = {}
    for present in (None, lambda batch: batch.get(PRESENT, {})):
        callback = relearning(present=present)
        fit(Halved(), callback, max_epochs=2)
        purity[present is None] = callback.history[1]["train_purity"]
    assert purity[False]["audio"] > purity[True]["audio"] + 0.1
    assert purity[False]["video"] == purity[True]["video"]


def test_features_that_are_not_finite_do_not_count():
    class Broken(Validated):
        def training_step(self, batch, batch_idx):
            if batch_idx == 0:
                batch = batch | {"audio": torch.full_like(batch["audio"], torch.nan)}
            return super().training_step(batch, batch_idx)

        def on_before_optimizer_step(self, optimizer):
            for parameter in self.parameters():
                parameter.grad.nan_to_num_()

    module = Broken(lr=0.0, momentum=0.0)
    callback = relearning()
    with pytest.warns(UserWarning, match="steps of period 0 had a loss, score or gradient"):
        fit(module, callback, max_epochs=2)
    assert math.isfinite(callback.history[1]["train_purity"]["audio"])


def test_features_that_are_all_alike_are_one_cluster():
    assert cluster(torch.ones(5, 2), 3).tolist() == [0] * 5


def test_probabilities_as_target_are_refused():
    module = Validated()
    for batch in module.batches:
        batch["label"] = nn.functional.one_hot(batch["label"], 3).double()
    with pytest.raises(ValueError, match="ReLearningCallback needs class indices"):
        fit(module, relearning(), max_epochs=2)


def test_without_validation_it_is_refused():
    with pytest.raises(ValueError, match="there is no validation"):
        fit(Validated(), relearning(), limit_val_batches=0)


def test_without_scikit_learn_it_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'inforeg-lightning\[relearning\]'"):
        ReLearning()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"lam": -1}, ValueError, "`lam` must be from 0"),
        ({"lam": "3"}, TypeError, "`lam` must be a number"),
        ({"every": 0}, ValueError, "`every` must be a whole number of epochs"),
        ({"times": 0}, ValueError, "`times` must be a whole number of returns"),
    ],
)
def test_a_wrong_argument_is_one_clear_error(settings, error, message):
    with pytest.raises(error, match=message):
        relearning(**settings)
