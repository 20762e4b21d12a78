"""G-Blending's measurement against the paper's Algorithms 1 to 3, each network by itself."""

import copy

import lightning.pytorch as L
import pytest
import torch
import torch.nn.functional as F

from helpers.comparison import assert_close_weights
from helpers.modules import Late, encoder_paths, make_batches, snapshot
from helpers.regulated import fit
from inforeg_lightning.callbacks import GBlendingCallback

EPOCHS, SUPER_EPOCH = 4, 2


class Validated(Late):
    def validation_step(self, batch, batch_idx):
        self(batch)

    def val_dataloader(self):
        return torch.utils.data.DataLoader(val_batches(len(self.names)), batch_size=None)


class Normalised(Validated):
    """With BatchNorm in the encoders: what is trained is not what is measured."""

    def make_encoder(self, inputs, width):
        return torch.nn.Sequential(
            torch.nn.Linear(inputs, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, width)
        )


def val_batches(modalities):
    batches = make_batches(modalities, batches=2, seed=7)
    batches[-1] = {key: value[:3] for key, value in batches[-1].items()}
    return batches


class Unimodal(torch.nn.Module):
    """An encoder and a classifier of its own."""

    def __init__(self, module, heads, name):
        super().__init__()
        self.name = name
        self.encoder, self.head = copy.deepcopy((getattr(module, f"{name}_encoder"), heads[name]))

    def forward(self, batch):
        return self.head(self.encoder(batch[self.name]))


class Joint(torch.nn.Module):
    """The naive joint network."""

    def __init__(self, module):
        super().__init__()
        self.names = module.names
        self.encoders = torch.nn.ModuleList(getattr(module, f"{n}_encoder") for n in self.names)
        self.encoders, self.head = copy.deepcopy((self.encoders, module.head))

    def forward(self, batch):
        features = [e(batch[n]) for e, n in zip(self.encoders, self.names, strict=True)]
        return self.head(torch.cat(features, 1))


def loss_over(network, batches):
    """The mean over all samples, in evaluation mode."""
    network.eval()
    with torch.no_grad():
        losses = [F.cross_entropy(network(b), b["label"], reduction="sum") for b in batches]
    network.train()
    return float(sum(losses)) / sum(len(b["label"]) for b in batches)


def measured(module, heads, epochs):
    """G and O of each modality's network, and of the joint one."""
    found = []
    for network in (*(Unimodal(module, heads, name) for name in module.names), Joint(module)):
        train, val = module.batches, val_batches(len(module.names))
        before = loss_over(network, train), loss_over(network, val)
        optimizer = torch.optim.SGD(network.parameters(), **module.sgd)
        for _ in range(epochs):
            for batch in train:
                optimizer.zero_grad()
                F.cross_entropy(network(batch), batch["label"]).backward()
                optimizer.step()
        after = loss_over(network, train), loss_over(network, val)
        found.append((before[1] - after[1], (after[1] - after[0]) - (before[1] - before[0])))
    return found


def weights_of(found, previous):
    """w = G / O² / Z; a G that is not positive has weight 0, and if none is they stay."""
    ratios = [max(g, 0.0) / o**2 for g, o in found]
    return [r / sum(ratios) for r in ratios] if sum(ratios) > 0 else previous


def blend(module, heads, every, epochs_of_a_trial):
    """Algorithm 2 with a super-epoch of ``every``; Algorithm 3 where that is all of the epochs."""
    optimizer = torch.optim.SGD([*module.parameters(), *heads.parameters()], **module.sgd)
    weights, found = [1 / (len(module.names) + 1)] * (len(module.names) + 1), None
    parameters, history, ratios = [], [], []
    for epoch in range(EPOCHS):
        if epoch % every == 0:
            found = measured(module, heads, epochs_of_a_trial)
            weights = weights_of(found, weights)
        for batch in module.batches:
            z, y = module.features(batch), batch["label"]
            losses = [F.cross_entropy(heads[name](z[name]), y) for name in module.names]
            losses.append(F.cross_entropy(module.head(torch.cat([*z.values()], 1)), y))
            optimizer.zero_grad()
            sum(w * loss for w, loss in zip(weights, losses, strict=True)).backward()
            optimizer.step()
        parameters.append(snapshot(module))
        history.append(weights)
        ratios.append(found)
    return parameters, history, ratios


class Keep(L.Callback):
    """The unimodal heads, as they were drawn."""

    def on_fit_start(self, trainer, pl_module):
        self.heads = copy.deepcopy(getattr(pl_module, "unimodal_heads", None))


def made(kind, modalities):
    return kind(modalities, make_batches(modalities), lr=0.02, momentum=0.5)


@pytest.mark.parametrize(
    ("measure", "every", "epochs"),
    [("online", SUPER_EPOCH, SUPER_EPOCH), ("offline", EPOCHS, EPOCHS)],
)
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("kind", [Validated, Normalised])
def test_weights_and_training_are_those_of_the_paper(kind, modalities, measure, every, epochs):
    kept = Keep()
    callback = GBlendingCallback(
        encoder_paths(modalities), head="head", measure=measure, super_epoch=SUPER_EPOCH
    )
    ours = fit(made(kind, modalities), callback, kept, max_epochs=EPOCHS)["weights"]
    theirs, weights, found = blend(made(kind, modalities), kept.heads, every, epochs)
    assert len({tuple(row) for row in weights}) == EPOCHS // every, "they change when they may"
    for entry, expected, terms in zip(callback.history, weights, found, strict=True):
        assert [*entry["generalisation"].values()] == pytest.approx([g for g, _ in terms])
        assert [*entry["overfitting"].values()] == pytest.approx([o for _, o in terms])
        assert [*entry["weight"].values()] == pytest.approx(expected, rel=1e-8)
    assert_close_weights(ours, theirs, atol=1e-9)


def test_heads_that_are_given_are_measured_as_those_that_are_made():
    def measured(**settings):
        kept = Keep()
        callback = GBlendingCallback(encoder_paths(), head="head", super_epoch=1, **settings)
        fit(made(Validated, 2), callback, kept, max_epochs=2)
        return callback.history, kept.heads

    own, heads = measured()
    given, _ = measured(unimodal_heads={name: heads[name] for name in ("audio", "video")})
    shared, _ = measured(unimodal_heads="shared")
    for quantity in ("generalisation", "overfitting", "weight"):
        assert given[1][quantity] == pytest.approx(own[1][quantity])
    assert shared[0]["generalisation"]["audio"] != pytest.approx(own[0]["generalisation"]["audio"])
    assert shared[0]["generalisation"]["fused"] == pytest.approx(own[0]["generalisation"]["fused"])
