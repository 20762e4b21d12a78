"""Each task's loss, predictions and metrics, against formulas written out by hand."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from inforeg_lightning.models import TASKS, FrameEncoder, LateFusionClassifier, PixelEncoder
from inforeg_lightning.models.tasks import IGNORED

SAMPLES = 6


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def values(task, num_classes, outputs, label):
    found = TASKS[task].metrics(num_classes)
    for metric in found.values():
        metric.update(TASKS[task].predict(outputs), label)
    return {name: float(metric.compute()) for name, metric in found.items()}


def test_binary_is_one_logit():
    logits, label = torch.tensor([[2.0], [-1.0], [0.5], [-3.0]]), torch.tensor([1, 1, 0, 0])
    expected = sum(math.log(1 + math.exp(z)) for z in (-2.0, 1.0, 0.5, -3.0)) / 4
    assert TASKS["binary"].loss(logits, label).item() == pytest.approx(expected)
    found = values("binary", 2, logits, label)
    # Of four pairs of a positive and a negative, (2, .5), (2, -3) and (-1, -3) are in order.
    assert found == pytest.approx({"accuracy": 0.5, "auroc": 0.75, "f1": 0.5})


def test_multilabel_counts_every_answer():
    logits, label = torch.tensor([[2.0, -1.0], [1.0, 3.0]]), torch.tensor([[1, 1], [0, 1]])
    expected = sum(math.log(1 + math.exp(z)) for z in (-2.0, 1.0, 1.0, -3.0)) / 4
    assert TASKS["multilabel"].loss(logits, label).item() == pytest.approx(expected)
    found = values("multilabel", 2, logits, label)
    assert found["accuracy"] == pytest.approx(0.5)
    # F1 of the first label: 1 right, 1 false alarm; of the second: 1 right, 1 missed.
    assert found["macro_f1"] == pytest.approx(2 / 3)


def test_ordinal_asks_of_each_level_whether_the_class_is_above_it():
    logits = torch.tensor([[2.0, 1.0, -1.0], [1.0, -1.0, -2.0]])
    label = torch.tensor([3, 0])
    # Class 3 of 4 is above all three levels, class 0 above none.
    signs = [-2.0, -1.0, 1.0, 1.0, -1.0, -2.0]
    expected = sum(math.log(1 + math.exp(z)) for z in signs) / 6
    assert TASKS["ordinal"].loss(logits, label).item() == pytest.approx(expected)
    found = values("ordinal", 4, logits, label)  # predicted: 2 and 1
    assert found["mae"] == 1.0
    assert found["accuracy"] == 0.0


def test_regression_is_of_one_number_or_several():
    task = TASKS["regression"]
    outputs, label = torch.tensor([[1.0], [2.0], [4.0]]), torch.tensor([0.0, 2.0, 6.0])
    assert task.loss(outputs, label).item() == pytest.approx(5 / 3)
    found = values("regression", 1, outputs, label)
    assert found["mae"] == pytest.approx(1.0)
    assert found["rmse"] == pytest.approx(math.sqrt(5 / 3))
    correlation = torch.corrcoef(torch.stack([outputs[:, 0], label]))[0, 1]
    assert found["correlation"] == pytest.approx(float(correlation), abs=1e-6)
    several = values("regression", 2, draw(4, 2), draw(4, 2, seed=1))
    assert "correlation" not in several
    assert several["mae"] == pytest.approx(float((draw(4, 2) - draw(4, 2, seed=1)).abs().mean()))


@pytest.mark.parametrize("task", ["tokens", "pixels"])
def test_places_that_are_ignored_count_nowhere(task):
    shape = (2, 3, 4) if task == "tokens" else (2, 4, 3, 3)
    logits = draw(*shape)
    places = logits.movedim(-1 if task == "tokens" else 1, -1)
    label = torch.zeros(places.shape[:-1], dtype=torch.int64)
    label[0], label[1, 0] = IGNORED, 3
    counted = label != IGNORED
    expected = F.cross_entropy(places[counted], label[counted])
    assert TASKS[task].loss(logits, label).item() == pytest.approx(expected.item())
    found = values(task, 4, logits, label)
    right = (places.argmax(-1) == label)[counted].float().mean()
    assert found["accuracy"] == pytest.approx(right.item())


class Flat(nn.Module):
    out_features = 4

    def forward(self, x):
        return x


def module(task, num_classes, **settings):
    torch.manual_seed(0)
    return LateFusionClassifier({"a": Flat(), "b": Flat()}, num_classes, task=task, **settings)


@pytest.mark.parametrize(
    ("task", "num_classes", "label"),
    [
        ("classes", 3, torch.arange(SAMPLES) % 3),
        ("binary", 2, torch.arange(SAMPLES) % 2),
        ("multilabel", 3, torch.arange(3 * SAMPLES).reshape(SAMPLES, 3) % 2),
        ("ordinal", 4, torch.arange(SAMPLES) % 4),
        ("regression", 1, draw(SAMPLES, seed=3)),
        ("regression", 2, draw(SAMPLES, 2, seed=3)),
    ],
)
def test_the_loss_is_that_of_the_task_and_unimodal_losses_are_alike(task, num_classes, label):
    batch = {"a": draw(SAMPLES, 4, seed=1), "b": draw(SAMPLES, 4, seed=2), "label": label}
    made = module(task, num_classes, unimodal_losses=True)
    made.log = lambda *_, **__: None
    loss, features = TASKS[task].loss, made.features(batch)
    expected = loss(made(batch), label)
    expected = expected + sum(loss(z, label) for z in made.unimodal(features).values())
    torch.testing.assert_close(made.training_step(batch, 0), expected)


def test_a_sample_without_a_modality_has_zero_features_and_no_unimodal_loss():
    has = torch.tensor([True, False, True, True, False, True])
    label = torch.arange(SAMPLES) % 3
    batch = {"a": draw(SAMPLES, 4, seed=1), "b": draw(SAMPLES, 4, seed=2), "label": label}
    made = module("classes", 3, unimodal_losses=True)
    made.log = lambda *_, **__: None
    zeroed = batch | {"b": batch["b"] * has[:, None]}
    logits = made.unimodal({"a": batch["a"], "b": zeroed["b"]})
    expected = F.cross_entropy(made(zeroed), label) + F.cross_entropy(logits["a"], label)
    expected = expected + F.cross_entropy(logits["b"][has], label[has])
    found = made.training_step(batch | {"present": {"b": has}}, 0)
    torch.testing.assert_close(found, expected)
    metric = made.metrics["train_accuracy_b"]
    right = (logits["b"].argmax(1) == label)[has].float().mean()
    assert float(metric.compute()) == pytest.approx(right.item())


def test_heads_of_tokens_and_pixels_are_split_or_zeroed():
    tokens = {"a": FrameEncoder(5, 8), "b": FrameEncoder(3, 8)}
    made = LateFusionClassifier(tokens, 4, task="tokens")
    features = made.features({"a": draw(2, 6, 5), "b": draw(2, 6, 3)})
    assert made.fuse(features).shape == (2, 6, 4)
    torch.testing.assert_close(sum(made.unimodal(features).values()), made.fuse(features))
    made = LateFusionClassifier({"a": PixelEncoder(3), "b": PixelEncoder()}, 4, task="pixels")
    features = made.features({"a": draw(2, 3, 8, 6), "b": draw(2, 1, 8, 6)})
    assert made.fuse(features).shape == (2, 4, 8, 6)
    zeros = torch.zeros_like(features["b"])
    alone = made.fuse({"a": features["a"], "b": zeros})
    torch.testing.assert_close(made.unimodal(features)["a"], alone)


def test_further_metrics_are_logged_of_the_fused_prediction_alone():
    from torchmetrics.classification import MulticlassPrecision

    made = module("classes", 3, metrics={"precision": MulticlassPrecision(3)})
    assert {name for name in made.metrics if "precision" in name} == {
        "train_precision_",
        "val_precision_",
        "test_precision_",
    }
    assert made.fused_metrics == ("accuracy", "precision")


@pytest.mark.parametrize("arguments", [{"width": 6}, {"layers": 0}])
def test_a_pixel_encoder_of_a_wrong_size(arguments):
    with pytest.raises(ValueError, match="layers must be at least 1 and width a multiple of"):
        PixelEncoder(**arguments)
