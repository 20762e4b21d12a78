"""A resumed run is the uninterrupted one, to the bit, with every method."""

import copy

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from helpers.methods import METHODS, every_method, those
from helpers.modules import Late, assert_same_weights, snapshot
from helpers.regulated import fit
from helpers.resuming import Inside, Resumable

pytestmark = [
    # Lightning's, when the Trainer that goes on has no ModelCheckpoint.
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    # torchdata 0.11 calls what torch deprecates.
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),
]


def saved(folder, callback, module=None, epochs=3):
    """Train whole, with a checkpoint after every fifth step and every epoch of six."""
    module = Resumable() if module is None else module
    end = ModelCheckpoint(folder, "{step}", save_top_k=-1, save_on_train_epoch_end=True)
    saving = [Inside(folder, every=5), end]
    return fit(module, callback, *saving, max_epochs=epochs, enable_checkpointing=True)


@every_method
@pytest.mark.parametrize("period", ["epoch", 4])
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path, method, period):
    settings = {"period": period, "window": (1, 4)}
    whole = saved(tmp_path, method(**settings))
    for step in (10, 12):  # inside the second epoch, and at its end
        path = tmp_path / f"step={step}.ckpt"
        torch.load(path, weights_only=True)
        torch.manual_seed(100 + step)  # another process has drawn other numbers
        module, callback = Resumable(), method(**settings)
        fit(module, callback, max_epochs=3, ckpt_path=path)
        assert callback.history == whole["history"], step
        assert_same_weights(snapshot(module), whole["weights"][-1])


@every_method
def test_a_checkpoint_of_other_modalities_or_periods_is_refused(tmp_path, method):
    saved(tmp_path, method(), epochs=1)
    path = tmp_path / "step=6.ckpt"
    renamed = {"a": "audio_encoder", "v": "video_encoder"}
    with pytest.raises(ValueError, match=r"modalities \['audio', 'video'\], this one has \['a'"):
        fit(Resumable(), method(encoders=renamed), ckpt_path=path)
    with pytest.raises(ValueError, match="has period 'epoch', this one has 5"):
        fit(Resumable(), method(period=5), ckpt_path=path)


@those(lambda method: not method.makes_heads)
def test_a_checkpoint_of_another_method_is_warned_of(tmp_path, method):
    other = next(m for m in METHODS if m.of is not method.of)
    saved(tmp_path, other(), epochs=1)
    callback = method()
    with pytest.warns(
        UserWarning, match=f"{method.of.__name__}: found no state of its own .* step 6"
    ):
        fit(Resumable(), callback, ckpt_path=tmp_path / "step=6.ckpt", max_epochs=2)
    assert [(entry["period"], entry["epoch"]) for entry in callback.history] == [(0, 1)]


@every_method
def test_testing_a_checkpoint_leaves_the_history(tmp_path, method):
    class Tested(Late):
        def test_step(self, batch, batch_idx):
            self(batch)

        test_dataloader = Late.train_dataloader

    callback, module = method(), Tested()
    trainer = fit(module, callback, max_epochs=1)["trainer"]
    trainer.save_checkpoint(tmp_path / "early.ckpt")
    trainer.fit_loop.max_epochs = 2
    trainer.fit(module)
    before = copy.deepcopy(callback.history)
    assert len(before) == 2
    trainer.test(module, ckpt_path=tmp_path / "early.ckpt", verbose=False, weights_only=True)
    assert callback.history == before
