"""From overrides to a configuration and the folder of its run."""

import hashlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict

from running.baselines import check_baseline, with_baseline
from running.errors import RecipeError
from running.secrets import public_overrides, public_text

CONF = Path(__file__).resolve().parents[2] / "conf"
_LONGEST = 200  # bytes of a part of a path; file systems take 255


def default_of(target: str, argument: str) -> Any:
    """The default of an argument in a signature: what ``${default:CLASS,ARGUMENT}`` stands for.

    So a configuration can name what is searched without repeating its value, and a run's name can
    hold the value.

    Args:
        target: Dotted path of a class or function.
        argument: Of it.

    Raises:
        RecipeError: It has no such argument, or the argument has no default.
    """
    parameter = inspect.signature(pkgutil.resolve_name(target)).parameters.get(argument)
    if parameter is None or parameter.default is parameter.empty:
        raise RecipeError(f"${{default:{target},{argument}}}: no argument with a default")
    return parameter.default


# Read when a value is asked for, not when the configuration is composed: what it imports takes
# seconds, which a mistyped override should not cost.
OmegaConf.register_new_resolver("default", default_of, replace=True)


@dataclass(frozen=True)
class Place:
    """Where a run goes and how it was asked for.

    Attributes:
        folder: Its run folder:
            ``<runs>/<experiment>/<method and its parameters>/<other overrides>/seed=<seed>``.
        overrides: The overrides of the command line.
        variant: Those of them that tell it from the method in the experiment as it is.
    """

    folder: Path
    overrides: tuple[str, ...]
    variant: str


def place_of(cfg: DictConfig, hydra: Any) -> Place:
    """The place of a run, the same for a single run, a sweep and a study.

    Args:
        cfg: The composed and checked configuration.
        hydra: Hydra's own.
    """
    variant = _variant(hydra)
    parts = [str(cfg.name), str(cfg.callbacks.name), *([variant] if variant else [])]
    folder = Path(cfg.runs, *map(path_part, parts), f"seed={cfg.seed}")
    return Place(folder, public_overrides(hydra.overrides.task), variant)


def current(cfg: DictConfig) -> tuple[DictConfig, Place]:
    """The configuration that Hydra is passing to a program, with its baseline, and its place."""
    hydra = HydraConfig.get()
    cfg = with_baseline(cfg, path_part(_variant(hydra)))
    return cfg, place_of(cfg, hydra)


def _variant(hydra: Any) -> str:
    return public_text(str(hydra.job.override_dirname), hydra.overrides.task)


def check_groups(overrides: Sequence[str]) -> None:
    """Refuse what Hydra would let pass, or has no error of its own for.

    Raises:
        RecipeError: A group of the configuration is unset, the run folder is overridden, or a
            baseline is asked for beside a method that it leaves no room for.
    """
    check_baseline(overrides)
    # Another folder of configurations may have files of its own; Hydra itself knows both.
    has_others = any(o.startswith(("--config-dir", "-cd")) for o in overrides)
    groups = set() if has_others else {path.name for path in CONF.iterdir() if path.is_dir()}
    for override in overrides:
        name, _, value = override.partition("=")
        if override.startswith("="):
            raise RecipeError(f"{override}: an override is NAME=VALUE")
        if name.lstrip("+").startswith(("hydra.run.", "hydra.sweep.")):
            raise RecipeError(
                f"{override}: the folder of a run follows from what it is; give runs=FOLDER for "
                "where run folders go"
            )
        if name in groups and re.fullmatch(r"[\w.+-]*", value):  # else a list, a sweep or a path
            files = sorted(path.stem for path in (CONF / name).glob("*.yaml"))
            if value not in files:
                raise RecipeError(f"{override}: {name} must be one of {', '.join(files)}")


def composed(jobs: Iterable[Sequence[str]]) -> Iterator[tuple[DictConfig, DictConfig]]:
    """The configuration that ``train.py`` would have with each job's overrides, and Hydra's own."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        for overrides in jobs:
            check_groups(overrides)
            cfg = compose("train", list(overrides), return_hydra_config=True)
            hydra = cfg.hydra
            with open_dict(cfg):
                del cfg["hydra"]
            yield with_baseline(cfg, path_part(_variant(hydra))), hydra


def path_part(text: str) -> str:
    """Text as one part of a path: an override may hold a path itself, or be very long."""
    text = text.replace("/", "_")
    if text in (".", ".."):
        return text.replace(".", "_")
    if len(text.encode()) <= _LONGEST:
        return text
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    return f"{text.encode()[: _LONGEST - 20].decode(errors='ignore')}…{digest}"
