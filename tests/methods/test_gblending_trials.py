"""Trials of G-Blending: they train copies, and leave no trace in the training itself."""

import random
from types import MethodType

import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn
from torchdata.stateful_dataloader import StatefulDataLoader

from helpers.manual import Manual
from helpers.modules import (
    Late,
    assert_same_weights,
    encoder_paths,
    make_batches,
)
from helpers.regulated import fit
from helpers.resuming import Inside
from helpers.trainers import quiet_trainer
from inforeg_lightning import Regulator
from inforeg_lightning.callbacks import GBlendingCallback
from inforeg_lightning.engine.distributed import Processes
from inforeg_lightning.methods import GBlending

EPOCHS = 3


class Drawing(Late):
    """Draws from every source of random numbers, and counts what it is called for."""

    def __init__(self, loader=None, **settings):
        super().__init__(lr=0.05, momentum=0.5, **settings)
        (batch,) = make_batches(batches=1, size=16)
        self.samples = [{k: v[i] for k, v in batch.items()} for i in range(16)]
        self.loader, self.seen, self.logged = loader, [], 0

    def make_encoder(self, inputs, width):
        return nn.Sequential(
            nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, width)
        )

    def training_step(self, batch, batch_idx):
        self.seen.append(batch["label"].tolist())
        self.log("drawn", random.random() + np.random.rand())  # noqa: NPY002
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        self(batch)

    def train_dataloader(self):
        return self.loader(self.samples)

    def val_dataloader(self):
        return torch.utils.data.DataLoader(make_batches(batches=2, seed=7), batch_size=None)


def shuffled(samples, **settings):
    return torch.utils.data.DataLoader(samples, batch_size=4, shuffle=True, **settings)


LOADERS = {
    "shuffled": shuffled,
    "a generator of its own": lambda samples: shuffled(
        samples, generator=torch.Generator().manual_seed(3)
    ),
    "stateful": lambda samples: StatefulDataLoader(samples, batch_size=4, shuffle=True),
    "persistent workers": lambda samples: shuffled(
        samples, num_workers=1, persistent_workers=True, multiprocessing_context="fork"
    ),
}


def gblending(**settings):
    settings = {"super_epoch": 2, "measure_epochs": 1} | settings
    return GBlendingCallback(encoder_paths(), head="head", **settings)


def trained(loader, callback):
    torch.manual_seed(1)
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    module = Drawing(loader)
    trainer = quiet_trainer(
        callbacks=[] if callback is None else [callback], max_epochs=EPOCHS, num_sanity_val_steps=0
    )
    trainer.fit(module)
    numpys = np.random.rand(3).tolist()  # noqa: NPY002
    return module, trainer, (torch.get_rng_state(), random.getstate(), numpys)


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # by torchdata's own loader
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.parametrize("loader", LOADERS.values(), ids=LOADERS)
def test_training_is_that_without_trials_to_the_bit(loader):
    """Its window opens only after all epochs: what there is to see are the trials."""
    callback = gblending(window=(EPOCHS, None))
    module, trainer, drawn = trained(loader, callback)
    alone, alone_trainer, alone_drawn = trained(loader, None)
    assert callback.history[0]["overfitting"]["fused"] is not None
    assert module.seen == alone.seen
    assert len({str(seen) for seen in module.seen}) > 4, "the order must change"
    assert torch.equal(drawn[0], alone_drawn[0])
    assert drawn[1:] == alone_drawn[1:]
    ours, theirs = module.state_dict(), alone.state_dict()
    assert_same_weights({name: ours[name] for name in theirs}, theirs)
    assert trainer.callback_metrics["drawn"] == alone_trainer.callback_metrics["drawn"]
    ours, theirs = (list(t.optimizers[0].state.values()) for t in (trainer, alone_trainer))
    for mine, other in zip(ours, theirs, strict=False):
        assert torch.equal(mine["momentum_buffer"], other["momentum_buffer"])


def test_a_super_epoch_begins_with_a_measurement_and_keeps_its_weights():
    callback = gblending()
    fit(Drawing(shuffled), callback, max_epochs=5)
    weights = [tuple(entry["weight"].values()) for entry in callback.history]
    assert weights[0] == weights[1] != weights[2] == weights[3] != weights[4]
    assert all(sum(row) == pytest.approx(1) for row in weights)


def test_offline_measures_once_and_as_long_as_the_training():
    once, named = (
        gblending(measure="offline", measure_epochs=None),
        gblending(measure="offline", measure_epochs=EPOCHS),
    )
    for callback in (once, named):
        fit(Drawing(shuffled), callback, max_epochs=EPOCHS)
        assert len({tuple(entry["weight"].values()) for entry in callback.history}) == 1
    assert once.history[0]["overfitting"] == named.history[0]["overfitting"]


def test_offline_without_an_end_asks_how_long():
    with pytest.raises(ValueError, match="pass `measure_epochs`"):
        fit(
            Drawing(shuffled),
            gblending(measure="offline", measure_epochs=None),
            max_epochs=-1,
            max_steps=2,
        )


@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("step", [3, 8, 9])
def test_a_resumed_run_has_the_weights_of_the_uninterrupted_one(tmp_path, step):
    """From inside a super-epoch, and from its end."""

    class Undropped(Drawing):
        """As torch's generator does not go on where it was."""

        make_encoder = Late.make_encoder

    def made():
        return Undropped(lambda samples: StatefulDataLoader(samples, batch_size=4))

    whole = gblending()
    end = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, save_on_train_epoch_end=True)
    saves = Inside(tmp_path, every=1), end
    fit(made(), whole, *saves, enable_checkpointing=True, max_epochs=EPOCHS)
    resumed = gblending()
    fit(made(), resumed, ckpt_path=tmp_path / f"step={step}.ckpt", max_epochs=EPOCHS)
    for ours, theirs in zip(resumed.history, whole.history, strict=True):
        assert ours["weight"] == theirs["weight"]
        assert ours["overfitting"] == theirs["overfitting"]


def test_gradients_of_copies_are_averaged_over_processes(monkeypatch):
    """Of two that have the same batches, each is the only one there is."""

    class Twins(Processes):
        size, rank, averaged = 2, 0, 0

        def sum(self, tensor):
            return 2 * tensor

        def mean(self, tensor):
            Twins.averaged += 1
            return tensor

    def measured():
        callback = gblending()
        fit(Drawing(shuffled), callback, max_epochs=1)
        return callback.history[0]

    torch.manual_seed(0)
    alone = measured()
    monkeypatch.setattr(
        "inforeg_lightning.callbacks.base.TrainerProcesses", lambda trainer: Twins()
    )
    torch.manual_seed(0)
    assert measured()["overfitting"] == pytest.approx(alone["overfitting"])
    assert Twins.averaged > 0


def test_accumulated_batches_are_one_step_of_a_copy():
    """The large batch, in the same order; a sum over its parts."""
    batches = make_batches(batches=4, size=4)
    large = [{k: torch.cat([batches[i][k], batches[i + 1][k]]) for k in batches[0]} for i in (0, 2)]
    parts, whole = gblending(), gblending()
    fit(Late(2, batches, lr=0.05), parts, max_epochs=1, accumulate_grad_batches=2)
    # Validation is on the first batch of those that `fit` is given.
    module = Late(2, large, lr=0.05)
    module.validation_step = MethodType(lambda self, batch, _: self(batch), module)
    module.val_dataloader = lambda: torch.utils.data.DataLoader(batches[:1], batch_size=None)
    fit(module, whole, max_epochs=1)
    assert parts.history[0]["overfitting"] == pytest.approx(whole.history[0]["overfitting"])


def test_a_loop_of_ones_own_is_told_what_to_do():
    module = Late()
    with pytest.raises(ValueError, match="Pass measure='running'"):
        Regulator(module, module.configure_optimizers(), encoder_paths(), GBlending(), head="head")


def test_optimising_by_hand_is_refused():
    with pytest.raises(ValueError, match=r"optimises by hand.*or give measure='running'"):
        fit(Manual(), gblending(), max_epochs=1)


def test_several_loaders_are_refused():
    class Several(Late):
        def train_dataloader(self):
            return {"a": super().train_dataloader(), "b": super().train_dataloader()}

        def training_step(self, batch, batch_idx):
            return super().training_step(batch["a"], batch_idx)

    with pytest.raises(ValueError, match="gives several loaders"):
        fit(Several(), gblending(target=lambda batch: batch["a"]["label"]), max_epochs=1)


def test_a_module_that_cannot_be_copied_is_named():
    class Uncopied(Late):
        def __init__(self):
            super().__init__()
            self.file = open(__file__)  # noqa: SIM115

        def teardown(self, stage):
            self.file.close()

    module = Uncopied()
    with pytest.raises(ValueError, match="Uncopied cannot be copied"):
        fit(module, gblending(), max_epochs=1)
    module.file.close()


def test_an_optimizer_that_cannot_be_made_again_is_named():
    class Odd(torch.optim.SGD):
        def __init__(self, groups, needed, **settings):
            super().__init__(groups, **settings)

    class Module(Late):
        def configure_optimizers(self):
            return Odd(self.parameters(), needed=1, lr=0.1)

    with pytest.raises(ValueError, match="no second Odd can be made"):
        fit(Module(), gblending(), max_epochs=1)


def test_a_step_that_does_not_call_the_head_is_named():
    class Elsewhere(Drawing):
        def validation_step(self, batch, batch_idx):
            pass

    with pytest.raises(ValueError, match="was not called in validation_step"):
        fit(Elsewhere(shuffled), gblending(), max_epochs=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"measure": "often"}, "`measure` must be one of"),
        ({"measure_epochs": 0}, "`measure_epochs` must be a whole number"),
        ({"floor": 0.5}, "`floor` must be at most 1 / 3"),
        ({"floor": -0.1}, "`floor` must be from 0"),
    ],
)
def test_arguments_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        gblending(**settings)


def test_a_floor_is_what_no_weight_is_below():
    callback = gblending(floor=0.2)
    fit(Drawing(shuffled), callback, max_epochs=1)
    weights = callback.history[0]["weight"].values()
    assert sum(weights) == pytest.approx(1)
    assert 0.2 <= min(weights) < 0.25
