"""What is particular to AutoBalance: it gives by validation, and nothing to what memorises."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from helpers.modules import Late, assert_same_weights, encoder_paths, make_batches, snapshot
from helpers.regulated import fit
from helpers.resuming import Inside, Resumable
from helpers.trainers import quiet_trainer
from inforeg_lightning import AutoBalanceCallback, Regulator
from inforeg_lightning.methods import AutoBalance

EPOCHS = 6


class Validated(Late):
    def validation_step(self, batch, batch_idx):
        self(batch)

    def val_dataloader(self):
        return torch.utils.data.DataLoader(make_batches(batches=2, seed=7), batch_size=None)


class Resumed(Resumable):
    validation_step = Validated.validation_step
    val_dataloader = Validated.val_dataloader


def auto_balance(**settings):
    return AutoBalanceCallback(encoder_paths(), head="head", **settings)


def weights_of(callback, modality):
    return [entry["weight"][modality] for entry in callback.history]


def test_nothing_is_given_to_what_validation_says_is_noise():
    class Noise(Validated):
        """Video of another sample, in training and in validation: it can only be memorised."""

        def val_dataloader(self):
            return torch.utils.data.DataLoader(shuffled(seed=7), batch_size=None)

    def shuffled(seed):
        batches = make_batches(batches=2, size=24, seed=seed)
        for batch in batches:
            generator = torch.Generator().manual_seed(seed)
            batch["video"] = torch.randn(batch["video"].shape, generator=generator).double()
        return batches

    callback = auto_balance()
    fit(Noise(batches=shuffled(seed=1), lr=0.2), callback, max_epochs=16)
    assert min(weights_of(callback, "video")[:2]) > 0.03  # before validation has told
    assert max(weights_of(callback, "video")[-6:]) < 0.02


# Lightning's, when the Trainer that goes on has no ModelCheckpoint, and torchdata 0.11's.
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("at_epoch_end", [True, False])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, at_epoch_end):
    """Also from between the validation and the end of its epoch, as by ``False``."""
    whole = auto_balance()
    end = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, save_on_train_epoch_end=at_epoch_end)
    inside = Inside(tmp_path, every=5)
    expected = fit(Resumed(), whole, inside, end, enable_checkpointing=True, max_epochs=EPOCHS)[
        "module"
    ]
    for step in (6, 10, 18):  # six steps an epoch
        resumed = auto_balance()
        path = tmp_path / f"step={step}.ckpt"
        ours = fit(Resumed(), resumed, ckpt_path=path, max_epochs=EPOCHS)["module"]
        assert resumed.history == whole.history, step
        assert_same_weights(snapshot(ours), snapshot(expected))


def test_the_sanity_check_does_not_count():
    checked, plain = auto_balance(), auto_balance()
    ours = fit(Validated(), checked, num_sanity_val_steps=1, max_epochs=EPOCHS)["module"]
    theirs = fit(Validated(), plain, num_sanity_val_steps=0, max_epochs=EPOCHS)["module"]
    assert_same_weights(ours.epoch_weights[-1], theirs.epoch_weights[-1])
    assert checked.history == plain.history


def test_gates_move_within_an_epoch_where_validation_comes_within_it():
    callback = auto_balance()
    fit(Validated(), callback, val_check_interval=2, max_epochs=2)  # four batches an epoch
    assert len(callback.method.losses) == 4


def test_without_validation_it_is_an_error():
    with pytest.raises(ValueError, match="there is no validation"):
        quiet_trainer(callbacks=[auto_balance()]).fit(Late())  # `fit` would give it a validation


def test_a_validation_without_the_head_is_an_error():
    class Elsewhere(Validated):
        def validation_step(self, batch, batch_idx):
            pass

    with pytest.raises(ValueError, match="was not called in validation_step"):
        fit(Elsewhere(), auto_balance(), max_epochs=EPOCHS)


def test_a_loop_of_ones_own_is_told_that_it_never_validates():
    module = Late()
    optimizer = module.configure_optimizers()
    regulator = Regulator(module, optimizer, encoder_paths(), AutoBalance(), head="head")

    def train(epoch):
        regulator.begin_epoch(epoch)
        for batch in module.batches:
            with regulator.batch(batch):
                loss = module.training_step(batch, 0)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        regulator.end_epoch()

    train(0)
    train(1)
    with pytest.warns(UserWarning, match="there was no validation in the first three periods"):
        train(2)
    regulator.close()


def test_several_labels_per_sample_are_refused():
    class Labels(Validated):
        def training_step(self, batch, batch_idx):
            return self(batch).square().mean()

    with pytest.raises(ValueError, match="AutoBalanceCallback is for classes"):
        fit(Labels(), auto_balance(target=lambda batch: batch["audio"]), max_epochs=1)
