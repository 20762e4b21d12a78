"""Encoders of pictures and frames from torchvision and timm, and of spectrograms as pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import torch
from torch import Tensor, nn

from inforeg_lightning.models.pretrained.encoder import (
    PretrainedEncoder,
    by_picture,
    local_folder,
    missing_extra,
)


class TorchvisionEncoder(PretrainedEncoder):
    """A classifier of torchvision without its last linear layer.

    Input: ``(B, C, H, W)``, or ``(B, C, T, H, W)``, whose frames are encoded one by one and their
    features averaged; floating, normalised as the weights want it, C 3 or 1 (repeated). Output:
    ``(B, D)``, what the last linear layer was given.

    Args:
        source: Name of the model, as ``torchvision.models.get_model`` takes it: ``"resnet18"``.
        weights: A file of its state, with or without the last layer; or the name of published
            weights (``"IMAGENET1K_V1"``, ``"DEFAULT"``), which must be in torch's hub cache. By
            default none: it is trained from scratch.
        trained: ``"all"``, ``"none"``, the number of the last blocks, or ``"lora"``; see
            :func:`~inforeg_lightning.models.pretrained.tune`.
        lora: Arguments of ``peft.LoraConfig``.

    Attributes:
        out_features: D.

    Raises:
        ModuleNotFoundError: torchvision, or for LoRA peft, is not installed.
        FileNotFoundError: The weights are neither a file nor in the cache.
        ValueError: There is no such model, the weights are not its own, or ``trained`` does not
            fit.
    """

    def __init__(
        self,
        source: str,
        weights: str | None = None,
        trained: str | int = "all",
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            from torchvision.models import get_model
        except ModuleNotFoundError as error:
            raise missing_extra(error, "TorchvisionEncoder", "torchvision") from error
        network: nn.Module = get_model(source, weights=None)
        name, last = [(n, m) for n, m in network.named_modules() if isinstance(m, nn.Linear)][-1]
        network.set_submodule(name, nn.Identity())
        if weights is not None:
            _load(network, _weights_file(source, weights), f"{name}.")
        super().__init__(network, last.in_features, trained, lora)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` or ``(B, C, T, H, W)`` to ``(B, out_features)``."""
        return by_picture(self.network, x, type(self).__name__)


class TimmEncoder(PretrainedEncoder):
    """A model of timm without its classifier.

    Input and output as of :class:`TorchvisionEncoder`.

    Args:
        source: A folder with ``config.json`` and weights, as timm's ``save_for_hf`` writes it; a
            repository in the Hugging Face cache (``"timm/resnet18.a1_in1k"``); or the name of a
            model (``"resnet18"``).
        weights: A file of the model's weights, where ``source`` is a name. By default a model
            that is named is trained from scratch.
        trained: ``"all"``, ``"none"``, the number of the last blocks, or ``"lora"``; see
            :func:`~inforeg_lightning.models.pretrained.tune`.
        lora: Arguments of ``peft.LoraConfig``.

    Attributes:
        out_features: Width of what the classifier would be given.

    Raises:
        ModuleNotFoundError: timm, or for LoRA peft, is not installed.
        FileNotFoundError: The source is neither a model, a folder nor in the cache; or there is no
            such file.
        ValueError: ``weights`` stand beside a source that has its own, are not the model's, or
            ``trained`` does not fit.
    """

    def __init__(
        self,
        source: str,
        weights: str | None = None,
        trained: str | int = "all",
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        try:
            import timm
        except ModuleNotFoundError as error:
            raise missing_extra(error, "TimmEncoder", "timm") from error
        if timm.is_model(source):
            network = timm.create_model(source, num_classes=0)
            if weights is not None:
                _load_timm(network, weights)
        elif weights is not None:
            raise ValueError(
                f"`source` is {source!r}, no name of a model, and has weights of its own: leave "
                "out `weights`, or give the model's name"
            )
        else:
            name = f"local-dir:{local_folder(source)}"
            network = timm.create_model(name, num_classes=0, pretrained=True)
        width: Any = getattr(network, "head_hidden_size", None) or network.num_features
        super().__init__(network, width, trained, lora)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` or ``(B, C, T, H, W)`` to ``(B, out_features)``."""
        return by_picture(self.network, x, type(self).__name__)


def _weights_file(source: str, weights: str) -> Path:
    """The file, or the one of torch's hub cache in which the named weights are kept."""
    if Path(weights).is_file():
        return Path(weights)
    from torchvision.models import get_model_weights

    published = get_model_weights(source)
    if weights not in published.__members__:
        raise FileNotFoundError(
            f"`weights` is {weights!r}, which is neither a file nor published weights of {source}: "
            f"{', '.join(published.__members__)}"
        )
    cached = Path(
        torch.hub.get_dir(), "checkpoints", Path(urlparse(published[weights].url).path).name
    )
    if not cached.is_file():
        raise FileNotFoundError(
            f"`weights` is {weights!r} of {source}, which is not in the hub cache ({cached}), and "
            'nothing is fetched during training. Fetch it once, as: python -c "import torchvision; '
            f"torchvision.models.get_model('{source}', weights='{weights}')\""
        )
    return cached


def _load(network: nn.Module, file: Path, classifier: str) -> None:
    """Load a state without its classifier, whose keys begin so."""
    state = torch.load(file, map_location="cpu", weights_only=True)
    try:
        network.load_state_dict({k: v for k, v in state.items() if not k.startswith(classifier)})
    except (RuntimeError, AttributeError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"`weights` {str(file)!r} are not of this model: {text:.300}") from error


def _load_timm(network: Any, weights: str) -> None:
    from timm.models import load_checkpoint

    if not Path(weights).is_file():
        raise FileNotFoundError(f"`weights` is {weights!r}, where there is no file")
    heads = network.pretrained_cfg.get("classifier") or ()
    classifiers = (heads,) if isinstance(heads, str) else tuple(heads)
    try:
        found = load_checkpoint(network, weights, strict=False)
    except RuntimeError as error:  # the shape of a weight
        text = " ".join(str(error).split())
        raise ValueError(f"`weights` {weights!r} are not of this model: {text:.300}") from error
    if found is None:  # a published file of NumPy arrays, which the model itself has read
        return
    missing = found.missing_keys
    unknown = [key for key in found.unexpected_keys if not key.startswith(classifiers)]
    if missing or unknown:
        keys = ", ".join([*missing, *unknown][:3])
        raise ValueError(
            f"`weights` {weights!r} are not of this model: {len(missing)} keys are missing and "
            f"{len(unknown)} unknown, {keys} among them"
        )
