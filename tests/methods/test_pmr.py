"""PMR where batches lack modalities, samples are marked, and targets have no prototypes."""

import itertools
import math

import lightning.pytorch as L
import pytest
import torch
import torch.nn.functional as F
from torchdata.stateful_dataloader import StatefulDataLoader

from helpers.comparison import assert_close_weights
from helpers.manual import Manual
from helpers.missing import NAMES, Deep, InPlace, batches_with
from helpers.modules import CLASSES, Late, assert_same_weights, encoder_paths, make_batches
from helpers.plain import EPOCHS, SETTINGS
from helpers.reference import largest_difference, true_class
from helpers.regulated import fit
from helpers.trainers import quiet_trainer
from inforeg_lightning.callbacks import PMRCallback

MU, MOMENTUM, ENTROPY_EPOCHS = 0.5, 0.3, 3
KINDS = [NAMES, ("audio", "video"), ("audio",), ("video", "text"), NAMES, ("text",)]


def pmr(modalities=3, **settings):
    given = {"mu": MU, "momentum": MOMENTUM, "entropy_periods": ENTROPY_EPOCHS} | settings
    return PMRCallback(encoder_paths(modalities), head="head", **given)


class Reference:
    """Equations 6 to 13 over the samples that have a modality, one by one."""

    def __init__(self, module):
        self.module = module
        self.prototypes = {name: {} for name in module.names}
        self.seen = {name: {} for name in module.names}
        self.losses = []

    def terms(self, name, z, label, rows):
        known = sorted(self.prototypes[name])
        rows = [i for i in rows if label[i].item() in known]
        if not rows:
            return None
        place = torch.tensor([known.index(label[i].item()) for i in rows])
        centres = torch.stack([self.prototypes[name][k] for k in known])
        p = torch.softmax(-torch.stack([((z[rows] - c) ** 2).sum(1).sqrt() for c in centres], 1), 1)
        return (
            true_class(p.detach(), place).mean().item(),
            -true_class(p, place).log().mean(),
            -(p * p.log()).sum(1).mean(),
        )

    def loss(self, epoch, batch):
        label, features = batch["label"], self.module.features(batch)
        loss = F.cross_entropy(self.module.head(torch.cat([*features.values()], 1)), label)
        terms = {}
        for name in self.module.names:
            if name not in batch:
                continue
            mask = batch.get("present", {}).get(name, torch.ones(len(label), dtype=torch.bool))
            rows = mask.nonzero()[:, 0].tolist()
            for i in rows:
                seen = self.seen[name].setdefault(label[i].item(), [])
                seen.append(features[name][i].detach())
            found = self.terms(name, features[name], label, rows)
            if found is not None:
                terms[name] = found
        for name, (strength, cross_entropy, entropy) in terms.items():
            others = [terms[other][0] for other in terms if other != name]
            ratio = strength / (sum(others) / len(others)) if others else 1.0
            loss = loss + min(max(1 / ratio - 1, 0), 1) * cross_entropy
            if epoch < ENTROPY_EPOCHS:
                loss = loss - MU * min(max(ratio - 1, 0), 1) * entropy
        self.losses.append({name: term[1].item() for name, term in terms.items()})
        return loss

    def end_epoch(self):
        for name, by_class in self.seen.items():
            for k, rows in by_class.items():
                mean, old = torch.stack(rows).mean(0), self.prototypes[name].get(k)
                moved = mean if old is None else MOMENTUM * old + (1 - MOMENTUM) * mean
                self.prototypes[name][k] = moved
        self.seen = {name: {} for name in self.module.names}

    def train(self):
        optimizer = self.module.configure_optimizers()
        weights = []
        for epoch in range(EPOCHS):
            for batch in self.module.batches:
                loss = self.loss(epoch, batch)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            self.end_epoch()
            weights.append({n: p.detach().clone() for n, p in self.module.named_parameters()})
        return weights


@pytest.mark.parametrize("kind", [InPlace, Deep])
@pytest.mark.parametrize("order", [1, -1], ids=["whole first", "whole last"])
def test_only_the_modalities_of_a_batch_are_pulled_and_compared(kind, order):
    batches = batches_with(KINDS[::order])
    reference = Reference(kind(batches, **SETTINGS))
    weights = reference.train()
    callback = pmr()
    module = fit(kind(batches, **SETTINGS), callback, max_epochs=EPOCHS)["module"]
    assert_close_weights(module.epoch_weights, weights)
    for epoch, entry in enumerate(callback.history):
        losses = reference.losses[epoch * len(batches) : (epoch + 1) * len(batches)]
        for name in NAMES:
            found = [of[name] for of in losses if name in of]
            expected = pytest.approx(sum(found) / len(found)) if found else None
            assert entry["prototype_loss"][name] == expected
            assert (expected is None) == (epoch == 0)


def test_a_micro_batch_without_a_modality_does_not_take_its_loss_away():
    batches = batches_with([NAMES, ("audio", "video")] * 2)
    callback = pmr()
    fit(InPlace(batches, **SETTINGS), callback, accumulate_grad_batches=2, max_epochs=EPOCHS)
    losses = [entry["prototype_loss"]["text"] for entry in callback.history]
    assert [loss is None for loss in losses] == [True] + [False] * (EPOCHS - 1)


def marked(**settings):
    """Batches of two modalities of which single samples lack one, in many ways."""
    batches = make_batches(**settings)
    for index, batch in enumerate(batches):
        at = torch.arange(len(batch["label"])) + index
        batch["present"] = {"audio": at % 3 > 0, "video": (at % 4 > 0) & (index != 2)}
        for name, mask in batch["present"].items():
            batch[name][~mask] = 5.0
    return batches


def test_only_the_samples_that_have_a_modality_count():
    weights = Reference(Late(2, marked(), **SETTINGS)).train()
    module = fit(Late(2, marked(), **SETTINGS), pmr(2, present="present"), max_epochs=EPOCHS)[
        "module"
    ]
    assert_close_weights(module.epoch_weights, weights)
    unmarked = fit(Late(2, marked(), **SETTINGS), pmr(2), max_epochs=EPOCHS)["module"]
    assert largest_difference(unmarked.epoch_weights[-1], weights[-1]) > 1e-3


@pytest.mark.parametrize("order", [*itertools.permutations(range(4))][::5])
@pytest.mark.parametrize("size", [1, 8])
def test_no_order_or_size_of_batches_is_a_trap(order, size):
    kinds = [KINDS[i] for i in (0, 2, 3, 5)]
    batches = batches_with([kinds[i] for i in order], size=size)
    callback = pmr(momentum=0.0)
    module = fit(InPlace(batches, **SETTINGS), callback, max_epochs=EPOCHS)["module"]
    assert all(weight.isfinite().all() for weight in module.epoch_weights[-1].values())
    for entry in callback.history:
        for quantity in ("trace", "score", "coefficient"):
            assert all(math.isfinite(value) for value in entry[quantity].values()), quantity


def test_a_modality_that_comes_in_a_later_epoch_is_pulled_from_the_next_on():
    class Later(InPlace):
        def train_dataloader(self):
            kinds = [NAMES if self.current_epoch >= 2 else ("audio", "video")] * 3
            return torch.utils.data.DataLoader(batches_with(kinds), batch_size=None)

    callback = pmr()
    with pytest.warns(UserWarning, match="text had no gradient"):
        fit(Later([], **SETTINGS), callback, reload_dataloaders_every_n_epochs=1, max_epochs=EPOCHS)
    losses = [entry["prototype_loss"]["text"] for entry in callback.history]
    assert [loss is None for loss in losses] == [True] * 3 + [False] * 3


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # by torchdata's own loader
def test_training_goes_on_inside_an_epoch_as_it_would_have(tmp_path):
    class Resumable(Late):
        def train_dataloader(self):
            return StatefulDataLoader(self.batches, batch_size=None)

    def module():
        return Resumable(2, marked(), **SETTINGS)

    whole = fit(module(), pmr(2, present="present"), max_epochs=EPOCHS)["module"]

    class Saves(L.Callback):
        """In the middle of the third epoch."""

        def on_train_batch_end(self, trainer, *_):
            if trainer.global_step == 10:
                trainer.save_checkpoint(tmp_path / "half.ckpt")

    first = quiet_trainer(max_epochs=3, callbacks=[pmr(2, present="present"), Saves()])
    first.fit(module())
    resumed = module()
    trainer = quiet_trainer(max_epochs=EPOCHS, callbacks=[pmr(2, present="present")])
    trainer.fit(resumed, ckpt_path=tmp_path / "half.ckpt", weights_only=True)
    assert_same_weights(resumed.epoch_weights[-1], whole.epoch_weights[-1])


def test_an_ignored_class_is_as_one_that_is_no_class():
    callbacks, modules = [], []
    for ignored in (-100, 1):
        batches = make_batches()
        for batch in batches:
            batch["marked"] = batch["label"].clone()
            batch["marked"][batch["label"] == 1] = ignored
        callbacks.append(pmr(2, target="marked", ignore_index=ignored))
        modules.append(
            fit(Late(2, batches, **SETTINGS), callbacks[-1], max_epochs=EPOCHS)["module"]
        )
        known = callbacks[-1].state_dict()["method"]["known"]["audio"]
        assert known.tolist() == [True, False, True]
    assert_close_weights(modules[0].epoch_weights, modules[1].epoch_weights, atol=0)


def test_a_column_of_class_indices_is_understood():
    batches = [b | {"column": b["label"][:, None]} for b in make_batches()]
    column = fit(Late(2, batches, **SETTINGS), pmr(2, target="column"), max_epochs=EPOCHS)["module"]
    assert_close_weights(
        column.epoch_weights,
        fit(Late(2, batches, **SETTINGS), pmr(2), max_epochs=EPOCHS)["weights"],
    )


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(lambda b: F.one_hot(b["label"], CLASSES).double(), id="probabilities"),
        pytest.param(lambda b: torch.stack([b["label"]] * 2, 1), id="one per token"),
        pytest.param(lambda b: b["label"].double(), id="numbers"),
        pytest.param(lambda b: b["label"][:1], id="of another batch"),
    ],
)
def test_a_target_without_prototypes_is_one_clear_error(target):
    with pytest.raises(
        ValueError, match=r"PMRCallback needs class indices \(B,\).*`target=` leads"
    ):
        fit(Late(2, make_batches(), **SETTINGS), pmr(2, target=target), max_epochs=EPOCHS)


def test_a_target_that_is_no_class_is_named():
    with pytest.raises(
        ValueError, match=r"`target=` leads to .* holds \d, but there are logits of 3"
    ):
        fit(
            Late(2, make_batches(), **SETTINGS),
            pmr(2, target=lambda b: b["label"] + 7),
            max_epochs=EPOCHS,
        )


def test_every_forward_pass_of_a_batch_optimised_by_hand_has_the_terms():
    class Twice(Manual):
        repeats = 2

    batches = make_batches()
    doubled = [batch for batch in batches for _ in range(2)]
    by_hand = fit(Twice(modalities=2, batches=batches, **SETTINGS), pmr(2), max_epochs=EPOCHS)[
        "module"
    ]
    ours = fit(Late(2, doubled, **SETTINGS), pmr(2), max_epochs=EPOCHS)["module"]
    assert_close_weights(by_hand.epoch_weights, ours.epoch_weights)
