"""What a method leaves behind, and one callback in several trainings."""

import copy
import io
import pickle

import pytest
import torch
import torch.nn.functional as F

from helpers.methods import every_method, those
from helpers.modules import Late, assert_same_weights, snapshot
from helpers.regulated import fit
from helpers.trainers import quiet_trainer
from inforeg_lightning import report_unimodal

HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_state_dict_hooks",
)


def left_behind(module):
    """Hooks, parameters and buffers that a fresh module has not."""
    fresh = Late(len(module.names))
    found = [name for part in module.modules() for name in HOOKS if getattr(part, name)]
    for name, parameter in module.named_parameters():
        if parameter._backward_hooks or parameter._post_accumulate_grad_hooks:
            found.append(name)
    found += set(module.state_dict()) ^ set(fresh.state_dict())
    found += {name for name, _ in module.named_modules()} ^ {n for n, _ in fresh.named_modules()}
    return found


@every_method
def test_nothing_is_left_behind(method):
    module = Late()
    fit(module, method(), max_epochs=2)
    assert left_behind(module) == []


class Failing(Late):
    """Fails in the second epoch, before or after the head is called."""

    after_the_head = True

    def training_step(self, batch, batch_idx):
        failing = self.current_epoch == 1 and batch_idx == 1
        if failing and not self.after_the_head:
            raise RuntimeError("out of luck")
        loss = super().training_step(batch, batch_idx)
        if failing:
            raise RuntimeError("out of luck")
        return loss


@every_method
@pytest.mark.parametrize("after_the_head", [True, False])
def test_nothing_is_left_behind_by_a_training_that_fails(method, after_the_head):
    module, callback = Failing(), method()
    module.after_the_head = after_the_head
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(module, callback)
    assert left_behind(module) == []
    expected = method()
    ours = fit(Late(), callback, max_epochs=2)["weights"]
    assert_same_weights(ours[-1], fit(Late(), expected, max_epochs=2)["weights"][-1])
    assert callback.history == expected.history


@every_method
def test_fit_twice_starts_afresh(method):
    callback, expected = method(), method()
    torch.manual_seed(0)
    fit(Late(), callback, max_epochs=2)
    torch.manual_seed(1)
    again = fit(Late(), callback, max_epochs=2)["weights"]
    torch.manual_seed(1)
    assert_same_weights(again[-1], fit(Late(), expected, max_epochs=2)["weights"][-1])
    assert callback.history == expected.history


@every_method
def test_fit_again_with_the_same_trainer_goes_on(method):
    callback, module = method(), Late()
    trainer = fit(module, callback, max_epochs=1)["trainer"]
    trainer.fit_loop.max_epochs = 3
    trainer.fit(module)
    assert [entry["epoch"] for entry in callback.history] == [0, 1, 2]
    assert left_behind(module) == []


@every_method
def test_a_trainer_without_training_data(method):
    callback = method()
    fit(Late(), callback, max_epochs=2, limit_train_batches=0)
    assert callback.history == []


class Configured(Late):
    """Its audio encoder is made in ``configure_model``."""

    def __init__(self):
        super().__init__()
        self.made = [self.audio_encoder]
        del self.audio_encoder

    def configure_model(self):
        self.audio_encoder = self.made[0]


@every_method
def test_encoders_made_in_configure_model(method):
    ours, expected = method(), method()
    found = fit(Configured(), ours, max_epochs=2)["weights"][-1]
    assert_same_weights(found, fit(Late(), expected, max_epochs=2)["weights"][-1])
    assert ours.history == expected.history


class Validated(Late):
    """Its callback takes it along when it is pickled: Lightning keeps ``module.log`` on it."""

    def validation_step(self, batch, batch_idx):
        self(batch)

    val_dataloader = Late.train_dataloader


@every_method
@pytest.mark.parametrize("copied", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_it_can_be_copied_before_and_after_training(method, copied):
    callback = method()
    ours = fit(Validated(), copied(callback), max_epochs=2)["weights"]
    expected = fit(Validated(), callback, max_epochs=2)
    assert_same_weights(ours[-1], expected["weights"][-1])
    assert copied(callback).history == expected["history"]


@every_method
def test_a_module_copied_while_it_trains_takes_no_hook_along(method):
    class Copying(Late):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            if batch_idx == 1:
                self.copies = [copy.deepcopy(self.head), copy.deepcopy(self.audio_encoder)]
                torch.save(self.head, io.BytesIO())
            return loss

    module = Copying()
    ours = fit(module, method(), max_epochs=2)["weights"]
    assert_same_weights(ours[-1], fit(Late(), method(), max_epochs=2)["weights"][-1])
    head, _ = module.copies
    features = torch.randn(4, head.in_features, dtype=torch.float64)
    assert torch.equal(head(features), F.linear(features, head.weight, head.bias))


@those(lambda method: not method.by_validation)
def test_validating_before_and_inside_training_changes_nothing(method):
    class Validated(Late):
        def validation_step(self, batch, batch_idx):
            if self.trainer.state.fn == "validate":
                report_unimodal(self, {"nonsense": batch["audio"]}, batch["label"])  # not heard
            self.log("val", F.cross_entropy(self(batch), batch["label"]), batch_size=8)

        val_dataloader = Late.train_dataloader

    callback, expected = method(), method()
    module = Validated()
    trainer = quiet_trainer(max_epochs=2, val_check_interval=2, callbacks=[callback])
    trainer.validate(module, verbose=False)
    trainer.fit(module)
    reference = fit(Late(), expected, max_epochs=2)
    assert_same_weights(snapshot(module), reference["weights"][-1])
    assert callback.history == expected.history


def test_reporting_outside_a_trainer_does_nothing():
    report_unimodal(Late(), {}, torch.zeros(1))
