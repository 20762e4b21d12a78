"""Begin a training from encoders that were trained before, each alone, as ``init`` asks.

The head is the model's own, newly drawn.
"""

from collections.abc import Iterator
from pathlib import Path

import lightning.pytorch as L
import torch
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from inforeg_lightning.models.pretrained import keep_still, tune
from running.baselines import checkpoints
from running.errors import RecipeError


class FrozenEncoders(Callback):
    """Keep the statistics of frozen encoders, or of their frozen blocks, as they are.

    Args:
        modalities: Names of the encoders in the model.
    """

    def __init__(self, modalities: list[str]) -> None:
        self.modalities = modalities

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Put what is frozen in evaluation mode: batch normalisation keeps its statistics."""
        for encoder in self._of(pl_module):
            keep_still(encoder)

    def _of(self, module: L.LightningModule) -> Iterator[torch.nn.Module]:
        for modality in self.modalities:
            yield module.get_submodule(f"encoders.{modality}")


def begin_from(cfg: DictConfig, model: L.LightningModule) -> list[Callback]:
    """Load the encoders that ``init`` names; what keeps them frozen, if it asks for that.

    Raises:
        RecipeError: A checkpoint is missing, or is not of such an encoder; or there are not as many
            blocks as are to be trained.
    """
    files = checkpoints(cfg)
    for modality, file in files.items():
        _load(modality, file, model)
    if not files or not (cfg.init.frozen or cfg.init.last):
        return []
    for modality in files:
        encoder = model.get_submodule(f"encoders.{modality}")
        try:
            tune(encoder, "none" if cfg.init.frozen else cfg.init.last)
        except ValueError as error:
            raise RecipeError(f"init.last: {error}") from None
    return [FrozenEncoders([*files])]


def _load(modality: str, file: Path, model: L.LightningModule) -> None:
    if not file.is_file():
        raise RecipeError(
            f"init.encoders: there is no {file}; train it first, "
            f"as python experiments/train.py only={modality}"
        )
    prefix = f"encoders.{modality}."
    try:
        saved = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
        weights = {k.removeprefix(prefix): v for k, v in saved.items() if k.startswith(prefix)}
        model.get_submodule(f"encoders.{modality}").load_state_dict(weights)
    except Exception as error:  # whatever a damaged or foreign file makes of it
        text = " ".join(str(error).split())
        raise RecipeError(
            f"init.encoders: {file} does not hold the encoder of {modality} that model builds "
            f"({type(error).__name__}: {text:.200})"
        ) from error
