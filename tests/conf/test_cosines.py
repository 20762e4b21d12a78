"""Cosines of the gradients of different batches: measured, and the training as it was."""

import lightning.pytorch as L
import pytest
import torch

from inforeg_lightning.data import SyntheticDataModule
from inforeg_lightning.models import LateFusionClassifier, MLPEncoder
from running.claims.cosines import GradientCosines, mean_cosine


def train(*callbacks):
    torch.manual_seed(0)
    encoders = {"audio": MLPEncoder(6), "image": MLPEncoder(8)}
    model = LateFusionClassifier(encoders, num_classes=4, lr=0.05)
    data = SyntheticDataModule({"audio": (6,), "image": (8,)}, batch_size=8)
    trainer = L.Trainer(
        max_epochs=2,
        accelerator="cpu",
        callbacks=[*callbacks],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data)
    return model


def test_the_training_is_not_changed():
    cosines = GradientCosines({"audio": "encoders.audio", "image": "encoders.image"}, batches=3)
    for one, other in zip(train().parameters(), train(cosines).parameters(), strict=True):
        assert torch.equal(one, other)
    assert [entry["epoch"] for entry in cosines.history] == [0, 1]
    for entry in cosines.history:
        assert all(-1 <= value <= 1 for value in entry["cosine"].values())


def test_the_same_batch_has_the_same_gradient():
    cosines = GradientCosines({"audio": "encoders.audio"}, batches=2)
    cosines.on_train_batch_start = lambda trainer, module, batch, index: cosines._kept.append(
        first.setdefault("batch", batch)
    )
    first = {}
    train(cosines)
    assert cosines.history[-1]["cosine"]["audio"] == pytest.approx(1.0)


def test_cosines_are_means_over_pairs():
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    assert mean_cosine([a, b]) == 0
    assert mean_cosine([a, a, b]) == pytest.approx(1 / 3)


def test_one_batch_cannot_be_compared():
    with pytest.raises(ValueError, match="must be at least 2"):
        GradientCosines({}, batches=1)
