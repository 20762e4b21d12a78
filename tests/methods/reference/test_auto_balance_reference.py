"""AutoBalance through a Trainer against a plain loop with one backward pass for each term."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.comparison import assert_close_weights
from helpers.modules import CLASSES, Late, encoder_paths, make_batches, snapshot
from helpers.reference import Nonlinear
from helpers.regulated import fit
from inforeg_lightning import AutoBalanceCallback

EPOCHS = 9
CHANCE = math.log(CLASSES)


class Validated(Late):
    def validation_step(self, batch, batch_idx):
        self(batch)

    def val_dataloader(self):
        return torch.utils.data.DataLoader(val_batches(self.names), batch_size=None)


class Normalised(Validated):
    """Its encoders have running statistics, which no extra pass may move."""

    def make_encoder(self, inputs, width):
        return nn.Sequential(
            nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, width)
        )


class ValidatedNonlinear(Nonlinear, Validated):
    pass


def val_batches(modalities):
    """Video says little of their labels: what it learns in training hardly generalises."""
    batches = make_batches(len(modalities), batches=3, seed=7)
    for batch in batches:
        batch["video"] = batch["video"].flip(0)
    return batches


def blocks_of(module, features):
    start = 0
    for name, z in features.items():
        yield name, start, start + z.shape[1]
        start += z.shape[1]


def unimodal(module, features):
    """The unimodal logits, written out for both kinds of head."""
    every = torch.cat([*features.values()], 1)
    logits = {}
    for name, start, stop in blocks_of(module, features):
        if isinstance(module.head, nn.Linear):
            weight = module.head.weight[:, start:stop]
            logits[name] = features[name] @ weight.T + module.head.bias / len(features)
            continue
        mask = torch.zeros_like(every)
        mask[:, start:stop] = 1
        first, tanh, _, last = module.head  # what differs in training is the identity here
        logits[name] = last(tanh(first(mask * every)))
    return logits


def signal(logits, label):
    """Mean over the samples of the norm of the loss's gradient for their logits."""
    z = logits.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(F.cross_entropy(z, label, reduction="sum"), z)
    return sum(float((row**2).sum()) ** 0.5 for row in gradient) / len(label)


def gate_of(train, val):
    """The part of what is known of the training samples that is known of others."""
    if not val:
        return 1.0
    if train[-1] >= CHANCE:
        return 1.0 if val[-1] < CHANCE else 0.0
    return max(0.0, min(1.0, (CHANCE - val[-1]) / (CHANCE - train[-1])))


def factor_of(name, gate, train):
    """The part of the joint loss's gradient that is left to an encoder."""
    if not train[name]:
        return 1.0
    known = {of: max(CHANCE - losses[-1], 0.0) for of, losses in train.items()}
    return 1.0 - (max(gate.values()) - gate[name]) * known[name] / max(known.values())


def auto_balance_loop(module, window=lambda epoch, name: True):
    """Weights by epoch, gates by epoch and shares by epoch."""
    head = [*module.head.parameters()]
    optimizer = module.configure_optimizers()
    train, val = ({name: [] for name in module.names} for _ in range(2))
    weights, gates, shares = [], [], []
    for epoch in range(EPOCHS):
        gate = {name: gate_of(train[name], val[name]) for name in module.names}
        factor = {name: factor_of(name, gate, train) for name in module.names}
        share = {name: [] for name in module.names}
        losses = {name: [] for name in module.names}
        module.train()
        for batch in module.batches:
            features, label = module.features(batch), batch["label"]
            fused = module.head(torch.cat([*features.values()], 1))
            joint, alone = F.cross_entropy(fused, label), unimodal(module, features)
            added = dict.fromkeys(module.parameters(), 0.0)
            for name, logits in alone.items():
                own = F.cross_entropy(logits, label)
                losses[name].append(own.item())
                share[name].append(min(1.0, signal(fused, label) / signal(logits, label)))
                if window(epoch, name):
                    encoder = [*getattr(module, f"{name}_encoder").parameters()]
                    of_own = torch.autograd.grad(own, [*encoder, *head], retain_graph=True)
                    of_joint = torch.autograd.grad(joint, encoder, retain_graph=True)
                    weight = gate[name] * (1 - share[name][-1] * min(factor.values()))
                    for parameter, gradient in zip([*encoder, *head], of_own, strict=True):
                        added[parameter] = added[parameter] + weight * gradient
                    for parameter, gradient in zip(encoder, of_joint, strict=True):
                        added[parameter] = added[parameter] - (1 - factor[name]) * gradient
            optimizer.zero_grad()
            joint.backward()
            for parameter, gradient in added.items():
                parameter.grad += gradient
            optimizer.step()
        module.eval()
        for name in module.names:
            train[name].append(sum(losses[name]) / len(losses[name]))
        batches = val_batches(module.names)
        with torch.no_grad():
            found = [(unimodal(module, module.features(b)), b["label"]) for b in batches]
        for name in module.names:
            val[name].append(sum(float(F.cross_entropy(z[name], y)) for z, y in found) / len(found))
        weights.append(snapshot(module))
        gates.append(gate)
        shares.append({name: sum(s) / len(s) for name, s in share.items()})
    return weights, gates, shares


def made(kind, modalities=2):
    return kind(modalities, make_batches(modalities), lr=0.05, momentum=0.5, weight_decay=1e-3)


def auto_balance(modalities=2, **settings):
    return AutoBalanceCallback(encoder_paths(modalities), head="head", **settings)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("kind", [Validated, Normalised, ValidatedNonlinear])
def test_every_weight_of_every_epoch_is_that_of_the_formula(kind, modalities):
    theirs, gates, shares = auto_balance_loop(made(kind, modalities))
    callback = auto_balance(modalities)
    ours = fit(made(kind, modalities), callback, max_epochs=EPOCHS)["module"]
    assert_close_weights(ours.epoch_weights, theirs)
    for entry, share in zip(callback.history, shares, strict=True):
        assert entry["share"] == pytest.approx(share, rel=1e-9)
    between = {value for gate in gates for value in gate.values() if 0 < value < 1}
    assert len(between) > 1, "the gates must move"


def test_each_modality_has_its_own_window():
    opens = {"audio": range(1, 6), "video": range(0, 3)}

    def window(traces):
        return {name: len(trace) in opens[name] for name, trace in traces.items()}

    theirs, _, _ = auto_balance_loop(made(Validated), lambda epoch, name: epoch in opens[name])
    callback = auto_balance(window=window)
    ours = fit(made(Validated), callback, max_epochs=EPOCHS)["module"]
    assert_close_weights(ours.epoch_weights, theirs)
    for epoch, entry in enumerate(callback.history):
        for name, within in opens.items():
            assert entry["weight"][name] == 0 or epoch in within


def test_the_comparison_can_fail():
    theirs, _, _ = auto_balance_loop(made(Validated))
    joint = fit(made(Validated), None, max_epochs=EPOCHS)["module"]
    with pytest.raises(AssertionError):
        assert_close_weights(joint.epoch_weights, theirs, atol=1e-3)
