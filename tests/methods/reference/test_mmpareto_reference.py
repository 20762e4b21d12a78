"""Training through a Trainer against a plain loop with one backward pass for each loss."""

import copy

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback
from torch import nn

from helpers.comparison import assert_close_weights
from helpers.modules import Late, encoder_paths, make_batches, snapshot
from helpers.regulated import fit
from helpers.unimodal_losses import WithUnimodalLosses, logits_of
from inforeg_lightning.callbacks import MMParetoCallback

EPOCHS = 6


def flat(gradients):
    return torch.cat([g.flatten() for g in gradients])


def shortest(g, u):
    """The weight of g in the shortest vector between g and u, by bisection on its slope."""
    low, high = 0.0, 1.0
    for _ in range(200):
        a = (low + high) / 2
        slope = torch.dot(a * g + (1 - a) * u, g - u)
        low, high = (a, high) if slope < 0 else (low, a)
    return a


def mmpareto_loop(module, window=lambda epoch, name: True, gamma=1.5, heads=None):
    """Weights by epoch, and how many steps were in conflict.

    Args:
        heads: Modality -> a classifier of its own, trained by its unimodal loss; ``None``: the
            columns of the joint head.
    """
    parameters = [*module.parameters(), *nn.ModuleDict(heads or {}).parameters()]
    optimizer = torch.optim.SGD(parameters, **module.sgd)
    weights, conflicts = [], 0
    for epoch in range(EPOCHS):
        acting = [name for name in module.names if window(epoch, name)]
        for batch in module.batches:
            if heads is None:
                fused, unimodal = logits_of(module, batch)
            else:
                features = module.features(batch)
                fused = module.head(torch.cat([*features.values()], 1))
                unimodal = {name: heads[name](z) for name, z in features.items()}
            joint = F.cross_entropy(fused, batch["label"])
            own = {name: F.cross_entropy(unimodal[name], batch["label"]) for name in acting}
            new = {}
            for name in acting:
                parameters = [*getattr(module, f"{name}_encoder").parameters()]
                g = torch.autograd.grad(joint, parameters, retain_graph=True)
                u = torch.autograd.grad(own[name], parameters, retain_graph=True)
                a = 0.5
                if F.cosine_similarity(flat(g), flat(u), dim=0) < 0:
                    a, conflicts = shortest(flat(g), flat(u)), conflicts + 1
                for p, g_p, u_p in zip(parameters, g, u, strict=True):
                    h = 2 * a * g_p + 2 * (1 - a) * u_p
                    new[p] = gamma * h * max(1.0, float((g_p + u_p).norm() / h.norm()))
            optimizer.zero_grad()
            (joint + sum(own.values())).backward()
            for p, gradient in new.items():
                p.grad = gradient
            optimizer.step()
        weights.append(snapshot(module))
    return weights, conflicts


def made(modalities=2, kind=Late):
    """A head so sure of itself that the two losses of an encoder disagree now and then."""
    module = kind(
        modalities,
        make_batches(modalities, batches=6, size=4),
        lr=0.03,
        momentum=0.5,
        weight_decay=1e-3,
    )
    with torch.no_grad():
        module.head.weight *= 10
    return module


def mmpareto(modalities=2, **settings):
    settings = {"unimodal_heads": "shared"} | settings
    return MMParetoCallback(encoder_paths(modalities), head="head", **settings)


class Normed(Late):
    """With BatchNorm in the encoders."""

    def make_encoder(self, inputs, width):
        return nn.Sequential(
            nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, width)
        )


class KeepsHeads(Callback):
    """A copy of the unimodal heads as training begins."""

    def on_fit_start(self, trainer, pl_module):
        self.heads = copy.deepcopy({**pl_module.unimodal_heads})


@pytest.mark.parametrize("kind", [Late, Normed])
@pytest.mark.parametrize("modalities", [2, 3])
def test_with_classifiers_of_their_own_as_the_authors_have_them(kind, modalities):
    kept, callback = KeepsHeads(), mmpareto(modalities, unimodal_heads="own")
    ours = fit(made(modalities, kind), callback, kept, max_epochs=EPOCHS)
    theirs, conflicts = mmpareto_loop(made(modalities, kind), heads=kept.heads)
    assert conflicts >= 3
    assert_close_weights(ours["weights"], theirs)
    for name, head in callback.unimodal_heads.items():
        torch.testing.assert_close(head.weight, kept.heads[name].weight, rtol=0, atol=1e-10)


@pytest.mark.parametrize("modalities", [2, 3])
def test_every_weight_of_every_epoch_is_that_of_the_formula(modalities):
    theirs, conflicts = mmpareto_loop(made(modalities))
    assert conflicts >= 3
    callback = mmpareto(modalities)
    assert_close_weights(fit(made(modalities), callback, max_epochs=EPOCHS)["weights"], theirs)
    weights = [weight for entry in callback.history for weight in entry["weight"].values()]
    assert any(weight != 0.5 for weight in weights)


def test_each_modality_has_its_own_window():
    opens = {"audio": range(1, 4), "video": range(3, 5)}

    def window(traces):
        return {name: len(trace) in opens[name] for name, trace in traces.items()}

    theirs, _ = mmpareto_loop(made(), lambda epoch, name: epoch in opens[name])
    callback = mmpareto(window=window)
    assert_close_weights(fit(made(), callback, max_epochs=EPOCHS)["weights"], theirs)
    for epoch, entry in enumerate(callback.history):
        for name, within in opens.items():
            assert (entry["cosine"][name] is not None) == (epoch in within)


def test_unimodal_losses_of_the_module_or_of_the_callback_are_the_same():
    brought = fit(made(), mmpareto(), max_epochs=EPOCHS)["module"]
    callback = mmpareto(unimodal_losses_included=True)
    included = fit(made(kind=WithUnimodalLosses), callback, max_epochs=EPOCHS)["module"]
    assert_close_weights(included.epoch_weights, brought.epoch_weights, atol=1e-12)
