"""One callback through several trainings, validations and failures."""

import pytest
import torch
import torch.nn.functional as F

from helpers.modules import Late, assert_same_weights, encoder_paths, snapshot
from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback, report_unimodal


def fit(module, callback, **settings):
    quiet_trainer(callbacks=[callback], **{"max_epochs": 3} | settings).fit(module)
    return module


def always(**settings):
    return InfoRegCallback(encoder_paths(), head="head", window="always", **settings)


def test_fit_twice_starts_afresh_with_a_new_trainer_and_goes_on_with_the_same():
    callback, expected = always(), always()
    fit(Late(), expected)
    fit(Late(), callback)
    module = fit(Late(), callback)
    assert callback.history == expected.history
    assert not module.head._forward_pre_hooks
    assert not module.audio_encoder._forward_hooks

    trainer = quiet_trainer(max_epochs=1, callbacks=[callback])
    module = Late()
    trainer.fit(module)
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module)
    assert [entry["epoch"] for entry in callback.history] == [0, 1, 2]


def test_validating_before_and_inside_training_changes_nothing():
    class Validated(Late):
        def validation_step(self, batch, batch_idx):
            if not self.trainer.training and self.trainer.state.fn == "validate":
                report_unimodal(self, {"nonsense": batch["audio"]}, batch["label"])  # not heard
            self.log("val", F.cross_entropy(self(batch), batch["label"]), batch_size=8)

        val_dataloader = Late.train_dataloader

    callback, expected = always(), always()
    trainer = quiet_trainer(max_epochs=3, callbacks=[callback])
    module = Validated()
    trainer.validate(module, verbose=False)
    trainer.fit(module)
    assert_same_weights(snapshot(fit(Late(), expected)), snapshot(module))
    assert callback.history == expected.history


def test_a_trainer_without_training_data():
    callback = always()
    quiet_trainer(callbacks=[callback], limit_train_batches=0).fit(Late())
    assert callback.history == []


def test_hooks_are_removed_when_training_fails():
    class Failing(Late):
        def training_step(self, batch, batch_idx):
            raise RuntimeError("out of luck")

    module = Failing()
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(module, always())
    assert not module.head._forward_pre_hooks


def test_modules_made_in_configure_model():
    class Late2(Late):
        def __init__(self):
            super().__init__()
            self._made = self.audio_encoder
            del self.audio_encoder

        def configure_model(self):
            self.audio_encoder = self._made

    callback = always()
    fit(Late2(), callback)
    assert callback.history[-1]["alpha"]["audio"] >= 1


def test_reporting_outside_a_trainer_does_nothing():
    report_unimodal(Late(), {}, torch.zeros(1))
