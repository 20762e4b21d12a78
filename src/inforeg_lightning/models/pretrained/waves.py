"""Encoders of sound as it is recorded, from torchaudio: wav2vec 2.0, HuBERT and WavLM."""

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from inforeg_lightning.models.pretrained.encoder import PretrainedEncoder, missing_extra


class TorchaudioEncoder(PretrainedEncoder):
    """A transformer of torchaudio on a waveform, its last layer averaged over time.

    Input: ``(B, T)`` or ``(B, 1, T)``, floating, at the rate of the weights (16,000 Hz). There is
    no mask: padding is sound. Output: ``(B, D)``.

    Args:
        source: A pipeline of torchaudio (``"WAV2VEC2_BASE"``, ``"HUBERT_BASE"``), whose weights
            must be in torch's hub cache; or a function of ``torchaudio.models``
            (``"wav2vec2_base"``, ``"hubert_base"``, ``"wav2vec2_model"``).
        weights: A file of the model's state, where ``source`` is a function. By default it is
            trained from scratch.
        settings: Arguments of that function.
        trained: ``"all"``, ``"none"``, the number of the last blocks, or ``"lora"``; see
            :func:`~inforeg_lightning.models.pretrained.tune`.
        lora: Arguments of ``peft.LoraConfig``.

    Attributes:
        out_features: D, 768 of the base models.

    Raises:
        ImportError: torchaudio is not installed, or does not go with this torch; which does, is
            said.
        FileNotFoundError: The weights are neither a file nor in the cache.
        ValueError: There is no such model, the weights are not its own, or ``trained`` does not
            fit.
    """

    def __init__(
        self,
        source: str,
        weights: str | None = None,
        settings: Mapping[str, Any] | None = None,
        trained: str | int = "all",
        lora: Mapping[str, Any] | None = None,
    ) -> None:
        torchaudio = import_torchaudio()
        network = (
            _from_pipeline(torchaudio, source, weights, settings)
            if source.isupper()
            else _from_function(torchaudio, source, weights, dict(settings or {}))
        )
        norms = [part for part in network.modules() if isinstance(part, nn.LayerNorm)]
        super().__init__(network, norms[-1].normalized_shape[0], trained, lora)

    def forward(self, waves: Tensor) -> Tensor:
        """Map ``(B, T)`` or ``(B, 1, T)`` to ``(B, out_features)``."""
        if waves.dim() == 3 and waves.shape[1] == 1:
            waves = waves.squeeze(1)
        if waves.dim() != 2:
            raise ValueError(
                f"TorchaudioEncoder takes waveforms (B, T) or (B, 1, T), got {tuple(waves.shape)}"
            )
        layers, _ = self.network.extract_features(waves)  # type: ignore[operator]
        features: Tensor = layers[-1]
        return features.mean(dim=1)


def import_torchaudio() -> ModuleType:
    """torchaudio, which refuses to be imported beside a torch that was built for another CUDA.

    Raises:
        ImportError: It is not installed, or cannot be imported; which pair fits is said.
    """
    try:
        import torchaudio
    except ModuleNotFoundError as error:
        found = missing_extra(error, "TorchaudioEncoder", "torchaudio")
        if found is error:
            raise
        text = str(found).replace("[pretrained]", "[torchaudio]")
        raise ModuleNotFoundError(text, name="torchaudio") from error
    except (ImportError, OSError, RuntimeError) as error:
        text = " ".join(str(error).split())
        raise ImportError(
            f"torchaudio {version('torchaudio')} cannot be imported beside torch "
            f"{torch.__version__} ({text:.200}). torchaudio 2.11 and later go with torch 2.11 and "
            "later of the same CUDA (or both for the CPU); an earlier one with torch of its own "
            f"number. {_remedy()}"
        ) from error
    module: ModuleType = torchaudio
    return module


def _remedy() -> str:
    cuda = torch.version.cuda
    index = "cpu" if cuda is None else f"cu{cuda.replace('.', '')}"
    wanted = torch.__version__.split("+")[0]
    fits = tuple(map(int, wanted.split(".")[:2])) >= (2, 11)
    package = "torchaudio>=2.11" if fits else f"torchaudio=={wanted}"
    return (
        f"For this torch: pip install --force-reinstall --no-deps '{package}' "
        f"--index-url https://download.pytorch.org/whl/{index}"
    )


def _from_pipeline(torchaudio: ModuleType, source: str, weights: Any, settings: Any) -> nn.Module:
    pipeline: Any = getattr(torchaudio.pipelines, source, None)
    if not hasattr(pipeline, "get_model"):
        known = [name for name in torchaudio.pipelines.__all__ if name.startswith(_FAMILIES)]
        raise ValueError(f"`source` is {source!r}, but the pipelines are {', '.join(known)}")
    if weights is not None or settings is not None:
        raise ValueError(
            f"`source` is {source!r}, a pipeline with weights and settings of its own: leave out "
            "`weights` and `settings`, or name a function, as 'hubert_base'"
        )
    # torchaudio has no public name for where it keeps them; the file is called as in its URL.
    cached = Path(torch.hub.get_dir(), "checkpoints", Path(pipeline._path).name)
    if not cached.is_file():
        raise FileNotFoundError(
            f"`source` is {source!r}, whose weights are not in the hub cache ({cached}), and "
            'nothing is fetched during training. Fetch them once, as: python -c "import '
            f'torchaudio; torchaudio.pipelines.{source}.get_model()"'
        )
    network: nn.Module = pipeline.get_model()
    return network


def _from_function(
    torchaudio: ModuleType, source: str, weights: str | None, settings: dict[str, Any]
) -> nn.Module:
    known = [n for n in torchaudio.models.__all__ if n.startswith(_FUNCTIONS)]
    if source not in known:
        raise ValueError(f"`source` is {source!r}, but the models are {', '.join(known)}")
    network: nn.Module = getattr(torchaudio.models, source)(**settings)
    if weights is None:
        return network
    if not Path(weights).is_file():
        raise FileNotFoundError(f"`weights` is {weights!r}, where there is no file")
    state = torch.load(weights, map_location="cpu", weights_only=True)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        text = " ".join(str(error).split())
        raise ValueError(f"`weights` {weights!r} are not of {source}: {text:.300}") from error
    return network


_FAMILIES = ("WAV2VEC2", "HUBERT", "WAVLM")
_FUNCTIONS = ("wav2vec2_", "hubert_base", "hubert_large", "hubert_xlarge", "wavlm_")
