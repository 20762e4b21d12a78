"""What can be wrong with a configuration, found before anything heavy starts."""

import difflib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

from hydra.errors import CompactHydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

# Given by the program, not by the configuration.
_PROVIDED = {"save_dir"}


class RecipeError(CompactHydraException):
    """A configuration that cannot run; Hydra shows its message without a traceback."""


def check(cfg: DictConfig) -> None:
    """Check names, arguments and ranges.

    Raises:
        RecipeError: The first thing that is wrong, by its path in the configuration.
    """
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise RecipeError(f"{', '.join(missing)} must be given, as {missing[0]}=VALUE")
    _at_least("seed", cfg.seed, 0)
    _at_least("trainer.max_epochs", cfg.trainer.max_epochs, 1)
    if cfg.threads is not None:
        _at_least("threads", cfg.threads, 1)
    for group in ("data", "model", "trainer", "logger", "callbacks"):
        for path, node in _targets(cfg[group], group):
            _check_arguments(path, node, _locate(path, node["_target_"]))
    if set(cfg.modalities) != set(cfg.model.encoders):
        raise RecipeError(
            f"modalities names {sorted(cfg.modalities)}, but model.encoders has "
            f"{sorted(cfg.model.encoders)}; name the same modalities in both"
        )
    if hasattr(_locate("data", cfg.data["_target_"]), "check"):
        _check_data(cfg.data)


def _check_data(data: DictConfig) -> None:
    """Let data that can do so say what is missing, before training would find out."""
    try:
        instantiate(data, _convert_="all").check()
    except InstantiationException as error:
        raise RecipeError(str(error.__cause__ or error)) from None
    except (OSError, RuntimeError, ValueError) as error:
        raise RecipeError(str(error)) from None


def _at_least(path: str, value: Any, least: int) -> None:
    if type(value) is not int or value < least:
        raise RecipeError(f"{path} must be an integer of at least {least}, got {value!r}")


def _targets(node: Any, path: str) -> Iterator[tuple[str, DictConfig]]:
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield path, node
        for key in node:
            yield from _targets(node[key], f"{path}.{key}")


def _locate(path: str, target: str) -> Callable[..., Any]:
    try:
        return pkgutil.resolve_name(target)  # type: ignore[no-any-return]
    except AttributeError:
        raise RecipeError(
            f"{path} is {target}, but it is not in this release "
            f"(inforeg-lightning {version('inforeg-lightning')})"
        ) from None
    except ImportError as error:
        raise RecipeError(
            f"{path} is {target}, which cannot be imported: {error}; "
            "pip install 'inforeg-lightning[experiments]' brings all that the experiments need"
        ) from None


def _check_arguments(path: str, node: DictConfig, target: Callable[..., Any]) -> None:
    parameters = inspect.signature(target).parameters
    given = {str(key) for key in node if not (str(key)[0] == str(key)[-1] == "_")}
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for name in sorted(given - set(parameters)):
        close = difflib.get_close_matches(name, parameters, n=1)
        hint = f"did you mean {close[0]}?" if close else f"it takes {', '.join(parameters)}"
        raise RecipeError(f"{path}.{name} is not an argument of {node['_target_']}; {hint}")
    required = {
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind is not p.VAR_POSITIONAL
    }
    if lacking := sorted(required - given - _PROVIDED):
        raise RecipeError(f"{path} lacks {', '.join(lacking)}, which {node['_target_']} needs")
