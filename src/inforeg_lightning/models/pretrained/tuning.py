"""What of a pretrained network is trained: all of it, none, its last blocks, or LoRA beside it."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn

_MOST = 4 / 5
"""A sequence with this share of the parameters is what a network consists of; the last stage of a
ResNet-18, which is one of four, has three quarters."""


def tune(
    network: nn.Module, trained: str | int = "all", lora: Mapping[str, Any] | None = None
) -> None:
    """Say what of a network is trained, in place.

    Args:
        network: The network, with its weights.
        trained: ``"all"``; ``"none"``; a number N, the last N of its blocks (:func:`blocks_of`) and
            whatever comes after them; or ``"lora"``, low-rank matrices beside the weights of its
            linear layers (Hu et al., 2022, by ``peft``), which stay as they are.
        lora: Arguments of ``peft.LoraConfig``, such as ``{"r": 4}``, for ``"lora"`` alone. Without
            ``target_modules`` these are all linear layers but those inside ``MultiheadAttention``.

    Raises:
        ValueError: ``trained`` is none of these, there are fewer blocks, or no layer for LoRA.
        ModuleNotFoundError: ``"lora"`` without ``peft``.
    """
    if lora is not None and trained != "lora":
        raise ValueError(f"`lora` is for trained='lora', but `trained` is {trained!r}")
    if trained == "lora":
        _add_lora(network, dict(lora or {}))
    elif trained in ("all", "none"):
        network.requires_grad_(trained == "all")
    elif isinstance(trained, int) and not isinstance(trained, bool) and trained > 0:
        _train_last(network, trained)
    else:
        raise ValueError(
            "`trained` must be 'all', 'none', 'lora' or a number of blocks, 1 or more, but is "
            f"{trained!r}"
        )


def keep_still(module: nn.Module) -> None:
    """Put what is frozen, as a whole or in part, into evaluation mode, in which nothing is random.

    Batch normalisation keeps its statistics there, nothing is dropped, nothing masked. To be called
    whenever the network has been put into training mode: parts of which every parameter is trained
    stay in it.
    """
    parameters = [*module.parameters()]
    if parameters and all(p.requires_grad for p in parameters):
        return
    module.training = False
    for child in module.children():
        keep_still(child)


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The blocks of a network, from its input to its output.

    They are what the network itself calls ``blocks`` (timm's, and ours); else its largest
    ``ModuleList`` (Hugging Face, torchaudio); else a ``Sequential`` with most of its parameters
    (torchvision's ``features``); else its own children (a ResNet's stages).
    """
    own: Any = getattr(network, "blocks", None)
    if isinstance(own, Iterable) and (blocks := _with_parameters(own)):
        return blocks
    lists: list[nn.Module] = [m for m in network.modules() if isinstance(m, nn.ModuleList)]
    if lists and (blocks := _with_parameters(max(lists, key=_size).children())):
        return blocks
    whole = _size(network)
    for module in network.modules():  # the outer ones come first
        blocks = _with_parameters(module.children()) if isinstance(module, nn.Sequential) else []
        if len(blocks) > 1 and _size(module) >= _MOST * whole:
            return blocks
    return _with_parameters(network.children())


def _train_last(network: nn.Module, count: int) -> None:
    blocks = blocks_of(network)
    if count > len(blocks):
        raise ValueError(
            f"`trained` asks for the last {count} blocks, but {type(network).__name__} has "
            f"{len(blocks)}: {', '.join(type(block).__name__ for block in blocks)}"
        )
    first = next(blocks[-count].parameters())
    # Parameters stand in the order of the layers; what comes after the blocks is trained as well.
    trained = False
    for parameter in network.parameters():
        trained = trained or parameter is first
        parameter.requires_grad_(trained)


def _add_lora(network: nn.Module, settings: dict[str, Any]) -> None:
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ModuleNotFoundError as error:
        if error.name != "peft":
            raise
        raise ModuleNotFoundError(
            "trained='lora' needs peft, which is not installed: "
            "pip install 'inforeg-lightning[pretrained]'",
            name="peft",
        ) from error
    if "target_modules" not in settings:
        settings["target_modules"] = _linear_layers(network)
    if not settings["target_modules"]:
        raise ValueError(
            f"trained='lora' finds no linear layer in {type(network).__name__}: name layers, as in "
            "lora={'target_modules': ['conv1']}, or train the last blocks instead"
        )
    inject_adapter_in_model(LoraConfig(**settings), network)


def _linear_layers(network: nn.Module) -> list[str]:
    """By name; not what ``MultiheadAttention`` has inside, whose weights it reads past a layer."""
    inside = {
        id(part)
        for module in network.modules()
        if isinstance(module, nn.MultiheadAttention)
        for part in module.modules()
    }
    return [
        name
        for name, module in network.named_modules()
        if name and isinstance(module, nn.Linear) and id(module) not in inside
    ]


def _with_parameters(modules: Iterable[Any]) -> list[nn.Module]:
    return [m for m in modules if isinstance(m, nn.Module) and _size(m) > 0]


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
