"""What is particular to G-Blending: it measures the validation, and remembers for a super-epoch."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from helpers.modules import Late, assert_same_weights, encoder_paths, make_batches, snapshot
from helpers.regulated import fit
from helpers.resuming import Inside, Resumable
from helpers.trainers import quiet_trainer
from inforeg_lightning.callbacks import GBlendingCallback

EPOCHS = 6


class Validated(Late):
    def __init__(self, **settings):
        super().__init__(lr=0.05, momentum=0.5, **settings)

    def validation_step(self, batch, batch_idx):
        self(batch)

    def val_dataloader(self):
        batches = make_batches(batches=2, seed=7)
        return torch.utils.data.DataLoader(batches, batch_size=None)


class Resumed(Resumable):
    validation_step = Validated.validation_step
    val_dataloader = Validated.val_dataloader


class Perceptron(Validated):
    """Its head is run, and drops features in training only."""

    def make_head(self, width):
        return torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(width, 3))


def gblending(**settings):
    return GBlendingCallback(
        encoder_paths(), head="head", **{"super_epoch": 2, "measure": "running"} | settings
    )


def weights_of(callback):
    return [entry["weight"] for entry in callback.history]


# Lightning's, when the Trainer that goes on has no ModelCheckpoint, and torchdata 0.11's.
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
@pytest.mark.parametrize("at_epoch_end", [True, False])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, at_epoch_end):
    """Also from between the validation and the end of its epoch, as by ``False``."""
    whole = gblending()
    end = ModelCheckpoint(tmp_path, "{step}", save_top_k=-1, save_on_train_epoch_end=at_epoch_end)
    expected = fit(
        Resumed(),
        whole,
        Inside(tmp_path, every=5),
        end,
        enable_checkpointing=True,
        max_epochs=EPOCHS,
    )["module"]
    assert len({tuple(weights.values()) for weights in weights_of(whole)}) > 2
    for step in (6, 10, 18, 24):  # six steps an epoch: the weights change after 18
        resumed = gblending()
        ours = fit(Resumed(), resumed, ckpt_path=tmp_path / f"step={step}.ckpt", max_epochs=EPOCHS)[
            "module"
        ]
        assert resumed.history == whole.history, step
        assert_same_weights(snapshot(ours), snapshot(expected))


def test_the_sanity_check_does_not_count():
    checked, plain = gblending(), gblending()
    ours = fit(Validated(), checked, num_sanity_val_steps=1, max_epochs=EPOCHS)["module"]
    theirs = fit(Validated(), plain, num_sanity_val_steps=0, max_epochs=EPOCHS)["module"]
    assert_same_weights(ours.epoch_weights[-1], theirs.epoch_weights[-1])
    assert checked.history == plain.history


def test_epochs_without_validation_put_an_estimate_off():
    callback = gblending()
    fit(
        Validated(), callback, check_val_every_n_epoch=3, max_epochs=EPOCHS
    )  # after the third epoch and the sixth
    assert [entry["val_loss"]["fused"] is None for entry in callback.history[:3]] == [1, 1, 0]
    before, *_ = weights_of(callback)
    assert weights_of(callback)[:6] == [before] * 6
    assert callback.method.epochs.weights != [1 / 3] * 3


def test_the_layout_of_training_serves_a_validation_that_has_no_graph_to_tell():
    """Neither by value, for what is between encoders and head, nor by the size of the batch."""

    class Activated(Validated):
        def features(self, batch):
            return {name: z.relu() for name, z in super().features(batch).items()}

        def val_dataloader(self):
            batches = [{key: v[:5] for key, v in batch.items()} for batch in make_batches(seed=7)]
            return torch.utils.data.DataLoader(batches, batch_size=None)

    callback = gblending()
    fit(Activated(), callback, max_epochs=1)
    assert callback.history[0]["val_loss"]["audio"] > 0


def test_a_head_with_dropout_is_validated_without():
    callback = gblending()
    module = fit(Perceptron(), callback, max_epochs=1)["module"]
    module.eval()
    with torch.no_grad():
        losses = [
            torch.nn.functional.cross_entropy(module(batch), batch["label"])
            for batch in make_batches(batches=2, seed=7)
        ]
    expected = torch.stack(losses).mean().item()
    assert callback.history[0]["val_loss"]["fused"] == pytest.approx(expected, rel=1e-12)


def test_without_validation_it_is_an_error():
    with pytest.raises(ValueError, match="there is no validation"):
        quiet_trainer(callbacks=[gblending()]).fit(Late())  # `fit` would give it a validation
    with pytest.raises(ValueError, match="there is no validation"):
        fit(Validated(), gblending(), limit_val_batches=0, max_epochs=EPOCHS)


def test_a_validation_without_the_head_is_an_error():
    class Elsewhere(Validated):
        def validation_step(self, batch, batch_idx):
            pass

    with pytest.raises(ValueError, match="was not called in validation_step"):
        fit(Elsewhere(), gblending(), max_epochs=EPOCHS)


@pytest.mark.parametrize("super_epoch", [0, -1, 1.0, True])
def test_a_super_epoch_is_a_number_of_epochs(super_epoch):
    with pytest.raises(ValueError, match="`super_epoch` must be"):
        gblending(super_epoch=super_epoch)


def test_no_modality_is_called_fused():
    with pytest.raises(ValueError, match="modality called 'fused'"):
        GBlendingCallback({"fused": "audio_encoder", "video": "video_encoder"}, head="head")
