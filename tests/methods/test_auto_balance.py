"""What is particular to AutoBalance: it gives by validation, and nothing to what memorises."""

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

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
    assert weights_of(callback, "video")[0] > 0.03  # before validation has told
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
    class Watched(Validated):
        def training_step(self, batch, batch_idx):
            gates.append(callback.method.gates)
            return super().training_step(batch, batch_idx)

    callback, gates = auto_balance(), []
    fit(Watched(), callback, val_check_interval=2, max_epochs=1)  # of four batches
    assert gates[0] == gates[1] == [1.0, 1.0]
    assert gates[2] == gates[3] != gates[0]


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


def only_together(size, seed):
    """Key and cipher say the class by their difference alone; a hint says it now and then."""
    generator = torch.Generator().manual_seed(seed)
    label, key = (torch.randint(2, (size,), generator=generator) for _ in range(2))
    shown = {"key": key, "cipher": (label + key) % 2, "hint": label}
    noise = {m: torch.randn(size, 4, generator=generator) for m in shown}
    clear = {"key": 3.0, "cipher": 3.0, "hint": 0.5}
    signs = torch.tensor([1.0, -1.0, 1.0, -1.0])
    inputs = {m: noise[m] + clear[m] * (2.0 * shown[m] - 1)[:, None] * signs for m in shown}
    return {**inputs, "label": label}


def learns_together(balanced):
    """The test accuracy of three modalities."""
    torch.manual_seed(0)
    names = ("key", "cipher", "hint")
    model = nn.ModuleDict({m: nn.Sequential(nn.Linear(4, 8), nn.ReLU()) for m in names})
    model["head"] = nn.Sequential(nn.Linear(24, 32), nn.ReLU(), nn.Linear(32, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    train, val, test = (only_together(size, seed) for seed, size in enumerate((768, 256, 1000)))

    def logits(batch):
        return model["head"](torch.cat([model[m](batch[m]) for m in names], dim=1))

    def train_epoch(within):
        for rows in torch.arange(768).split(64):
            batch = {key: value[rows] for key, value in train.items()}
            with within(batch):
                loss = F.cross_entropy(logits(batch), batch["label"])
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

    if balanced:
        encoders = {m: m for m in names}
        regulator = Regulator(model, optimizer, encoders, AutoBalance(), head="head")
        for epoch in range(12):
            regulator.begin_epoch(epoch)
            train_epoch(regulator.batch)
            with regulator.validation(), regulator.batch(val), torch.no_grad():
                logits(val)
            regulator.end_epoch()
        regulator.close()
        assert min(e["factor"][m] for e in regulator.history for m in names) > 0.8
    else:
        for _ in range(12):
            train_epoch(nullcontext)
    with torch.no_grad():
        return float((logits(test).argmax(dim=1) == test["label"]).float().mean())


def test_modalities_that_only_speak_together_are_learnt_as_by_joint_training():
    """Neither says anything alone, beside a hint whose gate is open."""
    joint = learns_together(balanced=False)
    assert joint > 0.9
    assert learns_together(balanced=True) > joint - 0.02
