"""AlternatingGreedy, G-Blending and MMPareto with missing modalities, against plain loops."""

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.comparison import assert_close_weights
from helpers.modules import encoder_paths, snapshot
from helpers.partly import NotCalled, Partly, losses_of, partly_batches
from helpers.regulated import fit
from inforeg_lightning.callbacks import (
    AlternatingGreedyCallback,
    GBlendingCallback,
    MMParetoCallback,
)

EPOCHS = 4
both_kinds = pytest.mark.parametrize("kind", [Partly, NotCalled])
two_or_three = pytest.mark.parametrize("modalities", [2, 3])


def made(kind, modalities):
    """A head so sure of itself that the two losses of an encoder disagree now and then."""
    module = kind(modalities, partly_batches(modalities=modalities, size=4), lr=0.03)
    with torch.no_grad():
        module.head.weight *= 20
    return module


def construct(method, modalities, **settings):
    return method(encoder_paths(modalities), head="head", present="present", **settings)


def parameters_of(module, name):
    return [*getattr(module, f"{name}_encoder").parameters()]


def flat(gradients):
    return torch.cat([g.flatten() for g in gradients])


def mmpareto_loop(module, gamma=1.5):
    """Weights by epoch, how often each modality acted and how often its losses were in conflict."""
    optimizer = module.configure_optimizers()
    weights, acted, conflicts = [], dict.fromkeys(module.names, 0), 0
    for _ in range(EPOCHS):
        for batch in module.batches:
            joint, own = losses_of(module, batch)
            new = {}
            for name, loss in own.items():
                parameters = parameters_of(module, name)
                g = torch.autograd.grad(joint, parameters, retain_graph=True)
                u = torch.autograd.grad(loss, parameters, retain_graph=True)
                dot, difference = flat(g) @ flat(u), flat(u) - flat(g)
                a = float(flat(u) @ difference / (difference @ difference)) if dot < 0 else 0.5
                acted[name], conflicts = acted[name] + 1, conflicts + (a != 0.5)
                for p, g_p, u_p in zip(parameters, g, u, strict=True):
                    h = 2 * a * g_p + 2 * (1 - a) * u_p
                    new[p] = gamma * h * max(1.0, float((g_p + u_p).norm() / h.norm()))
            optimizer.zero_grad()
            (joint + sum(own.values())).backward()
            for p, gradient in new.items():
                p.grad = gradient
            optimizer.step()
        weights.append(snapshot(module))
    return weights, acted, conflicts


@both_kinds
@two_or_three
def test_mmpareto(kind, modalities):
    theirs, acted, conflicts = mmpareto_loop(made(kind, modalities))
    assert all(0 < times < EPOCHS * len(made(kind, 2).batches) for times in acted.values())
    assert conflicts > 0
    callback = construct(MMParetoCallback, modalities, unimodal_heads="shared")
    assert_close_weights(
        fit(made(kind, modalities), callback, max_epochs=EPOCHS)["weights"], theirs
    )
    assert all(0 < w < 1 for entry in callback.history for w in entry["weight"].values())


def gblending_loop(module):
    """With equal weights: parameters, and losses of training and validation, by epoch."""
    optimizer = module.configure_optimizers()
    names, weight = [*module.names, "fused"], 1 / (len(module.names) + 1)
    weights, train, val = [], [], []
    for _ in range(EPOCHS):
        seen = {name: [] for name in names}
        for batch in module.batches:
            joint, own = losses_of(module, batch)
            for name, loss in (own | {"fused": joint}).items():
                seen[name].append(loss.item())
            optimizer.zero_grad()
            (weight * (joint + sum(own.values()))).backward()
            optimizer.step()
        weights.append(snapshot(module))
        train.append({name: sum(losses) / len(losses) for name, losses in seen.items()})
        sums, counts = dict.fromkeys(names, 0.0), dict.fromkeys(names, 0)
        with torch.no_grad():
            for batch in module.val_dataloader():
                joint, own = losses_of(module, batch)
                for name, loss in (own | {"fused": joint}).items():
                    mask = batch["present"].get(name, torch.ones(len(batch["label"])))
                    sums[name] += int(mask.sum()) * loss.item()
                    counts[name] += int(mask.sum())
        val.append({name: sums[name] / counts[name] for name in names})
    return weights, train, val


@both_kinds
@two_or_three
def test_gblending(kind, modalities):
    theirs, train_losses, val_losses = gblending_loop(made(kind, modalities))
    callback = construct(
        GBlendingCallback,
        modalities,
        super_epoch=EPOCHS,
        measure="running",
        unimodal_heads="shared",
    )
    assert_close_weights(
        fit(made(kind, modalities), callback, max_epochs=EPOCHS)["weights"], theirs
    )
    for entry, on_train, on_val in zip(callback.history, train_losses, val_losses, strict=True):
        assert entry["train_loss"] == pytest.approx(on_train, rel=1e-9)
        assert entry["val_loss"] == pytest.approx(on_val, rel=1e-9)


class Speeds:
    """The conditional learning speeds over the steps that have a modality."""

    def __init__(self, module, tolerance, steps):
        self.module, self.tolerance, self.steps = module, tolerance, steps
        self.fusion, self.encoder = (dict.fromkeys(module.names, 0.0) for _ in range(2))
        self.seen = {name: [] for name in module.names}
        self.alone, self.left, self.chosen = None, 0, []

    def forward(self, batch):
        """The joint loss, with the modality that lags alone where the batch has it."""
        features, masks = self.module.features(batch), batch["present"]
        given = dict(features)
        if self.alone is not None and masks[self.alone].any():
            self.chosen.append(self.alone)
            for name, z in features.items():
                if name != self.alone:
                    before = self.seen[name]
                    mean = torch.cat(before).mean(0) if before else z.detach()
                    given[name] = torch.where(masks[name][:, None], mean, z.detach())
        for name, z in features.items():
            if masks[name].any():
                self.seen[name].append(z.detach()[masks[name]])
        return F.cross_entropy(self.module.head(torch.cat([*given.values()], 1)), batch["label"])

    def measure(self, batch):
        if self.left > 0:
            self.left -= 1
            self.alone = self.alone if self.left else None
            return
        start, weight = 0, self.module.head.weight
        for name in self.module.names:
            parameters = parameters_of(self.module, name)
            columns = slice(start, start + parameters[-1].numel())
            start = columns.stop
            if batch["present"][name].any():
                ratio = weight.grad[:, columns].square().sum() / weight[:, columns].square().sum()
                self.fusion[name] += ratio.item()
                squares = [
                    flat(z).square().sum() for z in ([p.grad for p in parameters], parameters)
                ]
                self.encoder[name] += (squares[0] / squares[1]).item()
        speed = {n: math.log10(f / self.encoder[n]) for n, f in self.fusion.items() if f}
        slowest = max(speed, key=speed.get)
        if speed[slowest] - min(speed.values()) > self.tolerance:
            self.alone, self.left = slowest, self.steps


@both_kinds
@two_or_three
def test_alternating_greedy(kind, modalities):
    plain = made(kind, modalities)
    speeds, optimizer, theirs = (
        Speeds(plain, tolerance=0.05, steps=3),
        plain.configure_optimizers(),
        [],
    )
    for _ in range(EPOCHS):
        for batch in plain.batches:
            optimizer.zero_grad()
            speeds.forward(batch).backward()
            speeds.measure(batch)
            optimizer.step()
        theirs.append(snapshot(plain))
    assert 3 < len(speeds.chosen) < EPOCHS * len(plain.batches)
    callback = construct(
        AlternatingGreedyCallback, modalities, window="always", tolerance=0.05, steps=3
    )
    assert_close_weights(
        fit(made(kind, modalities), callback, max_epochs=EPOCHS)["weights"], theirs
    )
