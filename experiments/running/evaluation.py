"""What a trained model is worth: a checkpoint's metrics and predictions, and linear probes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Outputs:
    """What a model makes of one split.

    Attributes:
        features: Modality -> features, ``(N, D)``.
        log_probabilities: Of the fused prediction, ``(N, C)``.
        label: True classes, ``(N,)``.
    """

    features: Mapping[str, np.ndarray]
    log_probabilities: np.ndarray
    label: np.ndarray


def evaluate(
    model: LateFusionClassifier,
    data: L.LightningDataModule,
    trainer: L.Trainer,
    checkpoint: Path,
    folder: Path,
) -> tuple[dict[str, Any], dict[str, Outputs]]:
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
        name; ``probe``, each modality's test accuracy of a linear probe. And what the model makes
        of the validation and test sets.
    """
    saved = torch.load(checkpoint, map_location="cpu", weights_only=True)
    model.load_state_dict(saved["state_dict"])
    val = trainer.validate(model, datamodule=data, verbose=False)[0]
    test = trainer.test(model, datamodule=data, verbose=False)[0]
    device = trainer.strategy.root_device
    model = model.to(device).eval()
    loaders = {
        "train": data.train_dataloader(),
        "val": data.val_dataloader(),
        "test": data.test_dataloader(),
    }
    outputs = {split: _outputs(model, data, of, device) for split, of in loaders.items()}
    names = getattr(data, "class_names", range(data.num_classes))
    write_features(folder, _sample(outputs["test"], names))
    metrics = {
        "epoch": int(saved["epoch"]),
        "checkpoint": f"{checkpoint.parent.name}/{checkpoint.name}",
        "val": {name.removeprefix("val/"): value for name, value in val.items()},
        "test": {name.removeprefix("test/"): value for name, value in test.items()},
        "probe": linear_probes(outputs["train"], outputs["test"]),
    }
    return metrics, {split: outputs[split] for split in ("val", "test")}


def linear_probes(train: Outputs, test: Outputs) -> dict[str, float]:
    """Test accuracy of a logistic regression on each frozen encoder's training features.

    The fused head's share for a modality shows what the head uses; a probe shows what the encoder
    knows. The share exaggerates suppression: where it is right at 15 %, a probe may be at 92 %.
    """
    accuracies = {}
    # One thread: runs beside each other would fight for cores, and sums keep their order.
    with threadpool_limits(1):
        for modality, features in train.features.items():
            probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
            probe.fit(features, train.label)
            accuracies[modality] = float(probe.score(test.features[modality], test.label))
    return accuracies


def _sample(outputs: Outputs, class_names: Iterable[Any]) -> Features:
    """Some of the features; the same samples for every run on these data."""
    size = len(outputs.label)
    rows = np.linspace(0, size - 1, min(size, _MOST_KEPT)).round().astype(int)
    some = {modality: values[rows] for modality, values in outputs.features.items()}
    return Features(some, outputs.label[rows], tuple(map(str, class_names)))


@torch.no_grad()
def _outputs(
    model: LateFusionClassifier,
    data: L.LightningDataModule,
    batches: Iterable[dict[str, torch.Tensor]],
    device: torch.device,
) -> Outputs:
    parts: list[dict[str, torch.Tensor]] = []
    logits: list[torch.Tensor] = []
    labels: list[torch.Tensor] = []
    for batch in batches:
        # As a Trainer would: some data make their pixels on the device.
        batch = data.on_after_batch_transfer(move_data_to_device(batch, device), 0)
        features = model.features(batch)
        parts.append({m: z.cpu() for m, z in features.items()})
        logits.append(model.fuse(features).float().cpu())
        labels.append(batch["label"].cpu())
    return Outputs(
        {m: torch.cat([part[m] for part in parts]).double().numpy() for m in parts[0]},
        torch.cat(logits).log_softmax(dim=1).numpy(),
        torch.cat(labels).numpy(),
    )
