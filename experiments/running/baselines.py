"""The plain baselines that are not callbacks, as changes of a composed configuration.

``only=audio`` trains one modality alone, without the others' encoders and without a method, which
needs two. ``init.encoders=alone`` begins from the encoders of such runs, which
``running/pretrained.py`` loads.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, open_dict

from running.errors import RecipeError


def check_baseline(overrides: Sequence[str]) -> None:
    """Refuse a baseline that is asked for beside a method which it leaves no room for.

    Args:
        overrides: As on the command line of ``train.py``.

    Raises:
        RecipeError: Both are asked for.
    """
    given = dict(override.lstrip("+").partition("=")[::2] for override in overrides)
    if given.get("callbacks", "none") == "none":
        return
    if given.get("only", "null") != "null":
        raise RecipeError(
            f"only={given['only']}: a method needs two modalities, and callbacks="
            f"{given['callbacks']} asks for one; leave it out"
        )
    if given.get("init.frozen", "false").lower() == "true":
        raise RecipeError(
            f"init.frozen=true trains the head alone, and callbacks={given['callbacks']} edits "
            "encoders; leave it out"
        )


def with_baseline(cfg: DictConfig, variant: str) -> DictConfig:
    """A configuration with the baseline that ``only`` or ``init`` asks for, named after it.

    Args:
        cfg: The composed configuration, which is changed.
        variant: The folder's part that tells a run's overrides; empty without any.

    Raises:
        RecipeError: It asks for what there is not.
    """
    with open_dict(cfg):
        if cfg.only is not None:
            _leave_alone(cfg, str(cfg.only))
        if cfg.init.encoders is not None:
            if cfg.only is not None:
                raise RecipeError("only and init are two baselines; give one of them")
            if cfg.init.encoders == "alone":
                of = ("{modality}_alone", *([variant] if variant else []), f"seed={cfg.seed}")
                cfg.init.encoders = str(Path(cfg.runs, cfg.name, *of))
            checkpoints(cfg)  # what it names
            if cfg.init.frozen:
                if cfg.init.last is not None:
                    raise RecipeError("init.frozen trains no block, and init.last some; give one")
                _without_method(cfg, "frozen", "Unimodally pretrained encoders, frozen")
            else:
                last = cfg.init.last
                method = "" if cfg.callbacks.name == "none" else f"{cfg.callbacks.name},"
                after = "" if not method else f", {cfg.callbacks.title}"
                part = "" if last is None else f", last {last} trained"
                cfg.callbacks.name = f"{method}pretrained{'' if last is None else f',last={last}'}"
                cfg.callbacks.title = f"Unimodally pretrained encoders{part}{after}"
    return cfg


def checkpoints(cfg: DictConfig) -> dict[str, Path]:
    """Modality -> the file its encoder begins from; empty where ``init`` names none.

    A run folder stands for its last epoch.

    Raises:
        RecipeError: It is neither.
    """
    given: Any = cfg.init.encoders
    if given is None:
        return {}
    if isinstance(given, str):
        if "{modality}" not in given:
            raise RecipeError(
                "init.encoders must be alone, or a folder with {modality} in it, or a folder or "
                f"checkpoint for each modality; got {given}"
            )
        given = {modality: given.replace("{modality}", modality) for modality in cfg.modalities}
    if unknown := sorted(set(given) - set(cfg.modalities)):
        raise RecipeError(
            f"init.encoders names {unknown[0]}, but the modalities are {', '.join(cfg.modalities)}"
        )
    return {modality: _file(Path(path)) for modality, path in given.items()}


def _file(path: Path) -> Path:
    return path / "checkpoints" / "last.ckpt" if path.suffix != ".ckpt" else path


def _leave_alone(cfg: DictConfig, modality: str) -> None:
    if modality not in cfg.modalities:
        raise RecipeError(
            f"only={modality}: the modalities are {', '.join(map(str, cfg.modalities))}"
        )
    for group in (cfg.modalities, cfg.model.encoders):
        for other in [name for name in group if name != modality]:
            del group[other]
    _without_method(cfg, f"{modality}_alone", f"{modality.capitalize()} alone")


def _without_method(cfg: DictConfig, name: str, title: str) -> None:
    for key in [k for k, node in cfg.callbacks.items() if isinstance(node, DictConfig)]:
        del cfg.callbacks[key]
    cfg.callbacks.name, cfg.callbacks.title = name, title
