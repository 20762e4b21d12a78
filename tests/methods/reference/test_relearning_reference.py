"""Diagnosing & Re-learning through a Trainer against a plain loop, written from the paper.

Purity of K-means clusters of training and validation features; the way back is the tanh of λ times
their gap. The order of things is that of the authors' ``ours.py``.
"""

import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from sklearn.cluster import KMeans
from sklearn.preprocessing import minmax_scale
from torch import nn

from helpers.comparison import assert_close_weights
from helpers.modules import CLASSES, Late, encoder_paths, make_batches, snapshot
from helpers.regulated import fit
from inforeg_lightning.callbacks import ReLearningCallback

EPOCHS, EVERY, TIMES, LAMBDA = 8, 2, 2, 0.7


class Validated(Late):
    def validation_step(self, batch, batch_idx):
        self(batch)

    def val_dataloader(self):
        return torch.utils.data.DataLoader(val_batches(len(self.names)), batch_size=None)


class WithBatchNorm(Validated):
    """The features of evaluation are others than those of training."""

    def make_encoder(self, inputs, width):
        return nn.Sequential(
            nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, width)
        )


def val_batches(modalities):
    batches = make_batches(modalities, batches=3, seed=7)
    batches[-1] = {key: value[:5] for key, value in batches[-1].items()}  # a smaller last batch
    return batches


def purity(features, labels):
    scaled = minmax_scale(features.numpy(), (-1, 1))
    clusters = KMeans(CLASSES, n_init=10, random_state=0).fit_predict(scaled).tolist()
    right = sum(
        Counter(y for y, c in zip(labels.tolist(), clusters, strict=True) if c == k).most_common(1)[
            0
        ][1]
        for k in set(clusters)
    )
    return right / len(clusters)


@torch.no_grad()
def in_evaluation(module, batches):
    """Features by modality, and labels."""
    module.eval()
    found = [module.features(batch) for batch in batches]
    module.train()
    return (
        {name: torch.cat([z[name] for z in found]) for name in module.names},
        torch.cat([batch["label"] for batch in batches]),
    )


def relearning_loop(module, *, again=False, returns=lambda epoch, name: True):
    """Parameters after each epoch, and the strengths of each return.

    ``again``: the training set goes through the encoders once more, as in the authors' code.
    """
    optimizer, initial = module.configure_optimizers(), snapshot(module)
    parameters, strengths, done = [], [], 0
    for epoch in range(EPOCHS):
        seen = []
        for batch in module.batches:
            features = module.features(batch)
            seen.append({name: z.detach() for name, z in features.items()})
            loss = F.cross_entropy(module.head(torch.cat([*features.values()], 1)), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if epoch > 0 and epoch % EVERY == 0 and done < TIMES:
            done += 1
            train = {name: torch.cat([z[name] for z in seen]) for name in module.names}
            labels = torch.cat([batch["label"] for batch in module.batches])
            if again:
                train, labels = in_evaluation(module, module.batches)
            val, val_labels = in_evaluation(module, val_batches(len(module.names)))
            strength = {
                name: math.tanh(
                    LAMBDA * abs(purity(train[name], labels) - purity(val[name], val_labels))
                )
                for name in module.names
                if returns(epoch, name)
            }
            strengths.append((epoch, strength))
            for name, parameter in module.named_parameters():
                alpha = strength.get(name.split("_")[0], 0.0)
                if name.split("_")[0] in module.names:
                    parameter.data = (1 - alpha) * parameter.data + alpha * initial[name]
        parameters.append(snapshot(module))
    return parameters, strengths


def made(kind=Validated, modalities=2):
    return kind(modalities, make_batches(modalities), lr=0.05)


def relearning(modalities=2, **settings):
    settings = {"lam": LAMBDA, "every": EVERY, "times": TIMES} | settings
    return ReLearningCallback(encoder_paths(modalities), head="head", **settings)


@pytest.mark.parametrize(("kind", "modalities"), [(Validated, 3), (WithBatchNorm, 2)])
def test_every_weight_of_every_epoch_is_that_of_the_formula(kind, modalities):
    theirs, strengths = relearning_loop(made(kind, modalities))
    assert [epoch for epoch, _ in strengths] == [2, 4]
    assert any(0.05 < alpha < 0.95 for _, of in strengths for alpha in of.values())
    callback = relearning(modalities)
    ours = fit(made(kind, modalities), callback, max_epochs=EPOCHS)
    assert_close_weights(ours["weights"], theirs)
    expected = dict(strengths)
    for entry in callback.history:
        of = expected.get(entry["epoch"], dict.fromkeys(encoder_paths(modalities)))
        assert entry["strength"] == pytest.approx(of)


def test_each_modality_has_its_own_window():
    def window(traces):
        return {"audio": len(traces["audio"]) < 3, "video": len(traces["video"]) >= 4}

    theirs, strengths = relearning_loop(
        made(), returns=lambda epoch, name: epoch < 3 if name == "audio" else epoch >= 4
    )
    assert [[*of] for _, of in strengths] == [["audio"], ["video"]]
    ours = fit(made(), relearning(window=window), max_epochs=EPOCHS)
    assert_close_weights(ours["weights"], theirs)


def test_a_pass_of_its_own_through_the_training_set_is_the_authors_variant():
    """Where the encoders stand still, so that both see the same features, it is ours too."""

    def still(kind):
        return kind(2, make_batches(), lr=0.0, momentum=0.0)

    _, strengths = relearning_loop(still(Validated), again=True)
    callback = relearning()
    fit(still(Validated), callback, max_epochs=EPOCHS)
    for epoch, of in strengths:
        assert callback.history[epoch]["strength"] == pytest.approx(of)
