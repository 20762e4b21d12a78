"""What a trained model is worth: a checkpoint's metrics and predictions, and linear probes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.fabric.utilities import move_data_to_device

from inforeg_lightning.models import LateFusionClassifier
from inforeg_lightning.report.folder import Features, write_features
from running.probes import linear_probe

_MOST_KEPT = 1000
_ONE_CLASS = ("classes", "binary", "ordinal")
"""Tasks in which a sample has one class, by which a figure may colour it."""


@dataclass(frozen=True)
class Outputs:
    """What a model makes of one split.

    Attributes:
        features: Modality -> features, ``(N, D)`` of classes.
        label: The targets, of classes ``(N,)``.
        present: Modality -> which samples have it, ``(N,)``, bool; a modality that all have may be
            left out.
        log_probabilities: Of the fused prediction, ``(N, C)``; ``None`` where a sample is not one
            of some classes.
    """

    features: Mapping[str, np.ndarray]
    label: np.ndarray
    present: Mapping[str, np.ndarray]
    log_probabilities: np.ndarray | None

    def of(self, modality: str) -> tuple[np.ndarray, np.ndarray]:
        """Features and targets of the samples that have a modality."""
        values, has = self.features[modality], self.present.get(modality)
        return (values, self.label) if has is None else (values[has], self.label[has])


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
        name; ``probe``, each modality's test value of a linear probe. And what the model makes of
        the validation and test sets.
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
    if model.task in _ONE_CLASS:
        names = getattr(data, "class_names", range(data.num_classes))
        write_features(folder, _sample(outputs["test"], names))
    metrics = {
        "epoch": int(saved["epoch"]),
        "checkpoint": f"{checkpoint.parent.name}/{checkpoint.name}",
        "val": {name.removeprefix("val/"): value for name, value in val.items()},
        "test": {name.removeprefix("test/"): value for name, value in test.items()},
        "probe": {
            modality: linear_probe(
                model.task, outputs["train"].of(modality), outputs["test"].of(modality)
            )
            for modality in model.modalities
        },
    }
    return metrics, {split: outputs[split] for split in ("val", "test")}


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
    masks: list[Mapping[str, torch.Tensor]] = []
    logits: list[torch.Tensor] = []
    labels: list[torch.Tensor] = []
    for batch in batches:
        # As a Trainer would: some data make their pixels on the device.
        batch = data.on_after_batch_transfer(move_data_to_device(batch, device), 0)
        features = model.features(batch)
        parts.append({m: z.cpu() for m, z in model.pooled(features).items()})
        logits.append(model.fuse(features).float().cpu())
        labels.append(batch["label"].cpu())
        masks.append({m: has.cpu() for m, has in batch.get("present", {}).items()})
    return Outputs(
        {m: torch.cat([part[m] for part in parts]).double().numpy() for m in parts[0]},
        torch.cat(labels).numpy(),
        {m: torch.cat([mask[m] for mask in masks]).numpy() for m in masks[0]},
        _log_probabilities(model.task, torch.cat(logits)),
    )


def _log_probabilities(task: str, logits: torch.Tensor) -> np.ndarray | None:
    if task == "binary":  # one logit: that of the second class beside nothing
        logits = torch.cat([torch.zeros_like(logits), logits], dim=1)
    elif task != "classes":
        return None
    return logits.log_softmax(dim=1).numpy()
