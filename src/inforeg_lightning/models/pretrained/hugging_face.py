"""Encoders from Hugging Face: of text, pictures, spectrograms and waveforms."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from inforeg_lightning.models.pretrained.encoder import (
    PretrainedEncoder,
    by_picture,
    local_folder,
    missing_extra,
)

_POOLS = ("mean", "first")


class HuggingFaceEncoder(PretrainedEncoder):
    """A model of ``transformers``, its last hidden state averaged.

    Input, by what the model takes: ``pixel_values`` as of
    :class:`~inforeg_lightning.models.TorchvisionEncoder`; ``input_ids``, token indices ``(B, T)``,
    int64; ``input_values``, a waveform ``(B, T)`` or ``(B, 1, T)``, or a spectrogram
    ``(B, T, F)`` or ``(B, 1, F, T)``, either way round if one side is the model's number of mel
    bands. Output: ``(B, D)``.

    Tokens that pad are not attended to, and in no mean; padding of waveforms is sound.

    Args:
        source: A folder with ``config.json`` and weights, as ``save_pretrained`` writes it, or a
            repository in the Hugging Face cache (``"google-bert/bert-base-uncased"``). Code that
            comes with a model is not run.
        part: Attribute path of the part of the model that encodes, of one for several modalities:
            ``"vision_model"`` or ``"text_model"`` of CLIP, ``"encoder"`` of Whisper.
        pool: ``"mean"`` over the tokens, patches or frames; ``"first"``: the first of them.
        padding: Token index that pads; by default the model's own, if it has one.
        trained: ``"all"``, ``"none"``, the number of the last blocks, or ``"lora"``; see
            :func:`~inforeg_lightning.models.pretrained.tune`.
        lora: Arguments of ``peft.LoraConfig``.

    Attributes:
        out_features: D, the model's hidden size.

    Raises:
        ModuleNotFoundError: transformers, or for LoRA peft, is not installed.
        FileNotFoundError: The source is neither a folder nor in the cache.
        ValueError: It holds no model, the part is not there, or an argument does not fit.
    """

    def __init__(
        self,
        source: str,
        part: str | None = None,
        pool: str = "mean",
        padding: int | None = None,
        trained: str | int = "all",
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        if pool not in _POOLS:
            raise ValueError(f"`pool` must be one of {', '.join(_POOLS)}, but is {pool!r}")
        network = _load(source, part)
        config: Any = network.config
        pooler = getattr(network, "pooler", None)
        super().__init__(network, _width(config), trained, lora, unused=pooler)
        self.pool = pool
        self.padding = getattr(config, "pad_token_id", None) if padding is None else padding
        self.takes = str(getattr(network, "main_input_name", "pixel_values"))

    def forward(self, x: Tensor) -> Tensor:
        """Map what the model takes to ``(B, out_features)``."""
        if self.takes == "pixel_values":
            return by_picture(
                lambda pictures: self._pooled(self.network(pixel_values=pictures)),
                x,
                type(self).__name__,
            )
        if self.takes == "input_ids":
            mask = x.new_ones(x.shape) if self.padding is None else (x != self.padding).long()
            return self._pooled(self.network(input_ids=x, attention_mask=mask), mask)
        return self._pooled(self.network(**{self.takes: self._sound(x)}))

    def _sound(self, x: Tensor) -> Tensor:
        """A waveform ``(B, T)``, or a spectrogram with the model's bands last."""
        bands = getattr(self.network.config, "num_mel_bins", None)
        if x.dim() == (3 if bands is None else 4) and x.shape[1] == 1:
            x = x.squeeze(1)
        is_last = self.takes == "input_values"
        if bands is not None and x.dim() == 3 and x.shape[2 if is_last else 1] != bands:
            x = x.transpose(1, 2)
        return x

    def _pooled(self, output: Any, mask: Tensor | None = None) -> Tensor:
        states: Tensor = output.last_hidden_state
        if states.dim() == 4:  # of a convolutional network
            return states.mean(dim=(2, 3))
        if self.pool == "first":
            return states[:, 0]
        if mask is None:
            return states.mean(dim=1)
        weights = mask.to(states.dtype).unsqueeze(2)
        return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)


def _load(source: str, part: str | None) -> nn.Module:
    try:
        from transformers import AutoModel
    except ModuleNotFoundError as error:
        raise missing_extra(error, "HuggingFaceEncoder", "transformers") from error
    folder = local_folder(source)
    try:
        network: nn.Module = AutoModel.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"`source` {source!r} holds no model to load: {text:.300}") from error
    if part is None:
        return network
    try:
        return network.get_submodule(part)
    except AttributeError:
        children = [name for name, _ in network.named_children()]
        raise ValueError(
            f"`part` is {part!r}, but {type(network).__name__} has {', '.join(children)}"
        ) from None


def _width(config: Any) -> int:
    for name in ("hidden_size", "d_model"):
        if isinstance(width := getattr(config, name, None), int):
            return width
    widths = getattr(config, "hidden_sizes", None)
    if not widths:
        raise ValueError(
            f"a {type(config).__name__} says no hidden_size: name the `part` of the model that "
            "encodes, as 'vision_model'"
        )
    return int(widths[-1])
