"""What a trained model is worth: metrics of a checkpoint, and linear probes of its encoders."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from inforeg_lightning.models import LateFusionClassifier
from inforeg_lightning.report.folder import Features, write_features

_MOST_KEPT = 1000


def evaluate(
    model: LateFusionClassifier,
    data: L.LightningDataModule,
    trainer: L.Trainer,
    checkpoint: Path,
    folder: Path,
) -> dict[str, Any]:
    """Validation and test metrics of a checkpoint, and its probes.

    Args:
        model: The model to load the checkpoint's weights into.
        data: The data it was trained on.
        trainer: A trainer without the method's callback, whose history must not be rolled back.
        checkpoint: The file.
        folder: The run folder, which keeps the features of at most 1,000 samples, spread evenly
            over the test set, for figures.

    Returns:
        ``epoch`` (counted from 0) of the checkpoint; ``val`` and ``test``, each metric by its
        name; ``probe``, each modality's test accuracy of a linear probe.
    """
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model.load_state_dict(saved["state_dict"])
    val = trainer.validate(model, datamodule=data, verbose=False)[0]
    test = trainer.test(model, datamodule=data, verbose=False)[0]
    return {
        "epoch": int(saved["epoch"]),
        "checkpoint": f"{checkpoint.parent.name}/{checkpoint.name}",
        "val": {name.removeprefix("val/"): value for name, value in val.items()},
        "test": {name.removeprefix("test/"): value for name, value in test.items()},
        "probe": linear_probes(model, data, trainer.strategy.root_device, folder),
    }


def linear_probes(
    model: LateFusionClassifier, data: L.LightningDataModule, device: torch.device, folder: Path
) -> dict[str, float]:
    """Test accuracy of a logistic regression on each frozen encoder's training features.

    The fused head's share for a modality shows what the head uses; a probe shows what the encoder
    knows. The share exaggerates suppression: where it is right at 15 %, a probe may be at 92 %.
    """
    model = model.to(device).eval()
    train, train_label = _features(model, data, data.train_dataloader(), device)
    test, test_label = _features(model, data, data.test_dataloader(), device)
    names = getattr(data, "class_names", range(data.num_classes))
    write_features(folder, _sample(test, test_label, names))
    accuracies = {}
    # One thread: runs beside each other would fight for cores, and sums keep their order.
    with threadpool_limits(1):
        for modality in train:
            probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
            probe.fit(train[modality], train_label)
            accuracies[modality] = float(probe.score(test[modality], test_label))
    return accuracies


def _sample(
    features: Mapping[str, np.ndarray], label: np.ndarray, class_names: Iterable[Any]
) -> Features:
    """Some of the features; the same samples for every run on these data."""
    rows = np.linspace(0, len(label) - 1, min(len(label), _MOST_KEPT)).round().astype(int)
    some = {modality: values[rows] for modality, values in features.items()}
    return Features(some, label[rows], tuple(map(str, class_names)))


@torch.no_grad()
def _features(
    model: LateFusionClassifier,
    data: L.LightningDataModule,
    batches: Iterable[dict[str, torch.Tensor]],
    device: torch.device,
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    parts: list[dict[str, torch.Tensor]] = []
    labels: list[torch.Tensor] = []
    for batch in batches:
        # As a Trainer would: some data make their pixels on the device.
        batch = data.on_after_batch_transfer(move_data_to_device(batch, device), 0)
        parts.append({m: z.cpu() for m, z in model.features(batch).items()})
        labels.append(batch["label"].cpu())
    features = {m: torch.cat([part[m] for part in parts]).double().numpy() for m in parts[0]}
    return features, torch.cat(labels).numpy()
