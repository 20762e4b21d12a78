"""What all pretrained encoders have in common: what is trained, the mode of the rest, frames."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

from torch import Tensor, nn

from inforeg_lightning.models.pretrained.tuning import keep_still, tune


class PretrainedEncoder(nn.Module):
    """A network that was trained before, as an encoder.

    What is frozen stays in evaluation mode when the encoder is put into training mode: batch
    normalisation keeps its statistics, nothing is dropped.

    Args:
        network: The network, with its weights and without a classifier.
        out_features: Width of what the encoder returns.
        trained: ``"all"``, ``"none"``, the number of its last blocks, or ``"lora"``; see
            :func:`~inforeg_lightning.models.pretrained.tune`.
        lora: Arguments of ``peft.LoraConfig``.
        unused: A part whose output is not used; it is frozen, since DDP waits for gradients.

    Attributes:
        network: As given.
        out_features: As given.
    """

    def __init__(
        self,
        network: nn.Module,
        out_features: int,
        trained: str | int = "all",
        lora: Mapping[str, Any] | None = None,
        unused: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.network, self.out_features = network, int(out_features)
        tune(network, trained, lora)
        if unused is not None:
            unused.requires_grad_(False)
        self.train()  # some libraries load in evaluation mode, and a Trainer leaves modes as found

    def train(self, mode: bool = True) -> Self:
        """Put what is trained into training mode, and leave the rest in evaluation mode."""
        super().train(mode)
        if mode:
            keep_still(self.network)
        return self


def by_picture(encode: Callable[[Tensor], Tensor], x: Tensor, name: str) -> Tensor:
    """Encode pictures, or frames of clips one by one, whose features are averaged.

    Args:
        encode: From ``(N, 3, H, W)`` to ``(N, D)``.
        x: ``(B, C, H, W)`` or ``(B, C, T, H, W)``, with C 3, or 1, which is repeated three times.
        name: Of the encoder, for the error.

    Returns:
        ``(B, D)``.

    Raises:
        ValueError: It has another shape.
    """
    if x.dim() not in (4, 5) or x.shape[1] not in (1, 3):
        raise ValueError(
            f"{name} takes pictures (B, C, H, W) or frames (B, C, T, H, W) with 1 or 3 channels, "
            f"got {tuple(x.shape)}"
        )
    frames = x.transpose(1, 2).flatten(0, 1) if x.dim() == 5 else x
    features = encode(frames.expand(-1, 3, -1, -1))
    return features.view(len(x), -1, features.shape[1]).mean(dim=1)


def local_folder(source: str) -> str:
    """A folder of weights, or of a repository in the user's Hugging Face cache; nothing is fetched.

    Raises:
        FileNotFoundError: It is neither.
    """
    if Path(source).is_dir():
        return source
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return snapshot_download(source, local_files_only=True)
    except (LocalEntryNotFoundError, HFValidationError, FileNotFoundError) as error:
        raise FileNotFoundError(
            f"`source` is {source!r}, which is neither a folder nor in the Hugging Face cache, and "
            f"nothing is fetched during training. Fetch it once, as: hf download {source}"
        ) from error


def missing_extra(error: ModuleNotFoundError, encoder: str, package: str) -> ModuleNotFoundError:
    """What to say where a package is not installed; another error if it is not that package."""
    if error.name is not None and error.name.split(".")[0] != package:
        return error
    return ModuleNotFoundError(
        f"{encoder} needs {package}, which is not installed: "
        "pip install 'inforeg-lightning[pretrained]'",
        name=package,
    )
