"""What can be wrong with a configuration, found before anything heavy starts."""

import difflib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from inforeg_lightning.report.schema import is_name, is_text
from running.building import check_built
from running.errors import RecipeError

# Given by the program, not by the configuration.
_PROVIDED = {"save_dir"}
_LARGEST_SEED = 2**32 - 1  # of numpy


def check(cfg: DictConfig) -> None:
    """Check names, arguments and ranges, and build everything once; nothing is written.

    Raises:
        RecipeError: The first thing that is wrong, by its path in the configuration.
    """
    try:
        _check_values(cfg)
        for group in ("data", "model", "trainer", "logger", "callbacks"):
            for path, node in targets(cfg[group], group):
                _check_arguments(path, node, _locate(path, node["_target_"]))
    except OmegaConfBaseException as error:
        raise RecipeError(" ".join(str(error).split())) from None
    if given := sorted({"callbacks", "logger", "enable_checkpointing"} & set(cfg.trainer)):
        raise RecipeError(
            f"trainer.{given[0]} is given by the program; choose with callbacks= and logger="
        )
    if set(cfg.modalities) != set(cfg.model.encoders):
        raise RecipeError(
            f"modalities names {sorted(cfg.modalities)}, but model.encoders has "
            f"{sorted(cfg.model.encoders)}; name the same modalities in both"
        )
    check_built(cfg)


def switch(path: str, value: Any) -> bool:
    """A value that means yes or no, also where YAML's other words for them came as text.

    Args:
        path: Its path in the configuration.
        value: What was given.
    """
    words = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
    found = words.get(str(value).lower()) if isinstance(value, bool | str) else None
    if found is None:
        raise RecipeError(f"{path} must be true or false, got {value!r}")
    return found


def _check_values(cfg: DictConfig) -> None:
    if missing := sorted(OmegaConf.missing_keys(cfg)):
        raise RecipeError(f"{', '.join(missing)} must be given, as {missing[0]}=VALUE")
    if not is_name(cfg.name):
        raise RecipeError(
            f"name must be letters, digits, '_', '-', '+' and '.', as it names a folder; got "
            f"{cfg.name!r}"
        )
    for path, value in (
        ("runs", cfg.runs),
        ("callbacks.name", cfg.callbacks.name),
        ("callbacks.title", cfg.callbacks.title),
    ):
        if not is_text(value) or not value.strip():
            raise RecipeError(f"{path} must be a line of text that is not empty, got {value!r}")
    for key in ("root", "store", "train_list", "test_list"):
        value = cfg.data.get(key)
        if value is not None and not (isinstance(value, str) and value.strip()):
            raise RecipeError(f"data.{key} must be a path, got {value!r}; leave it out for none")
    if "store" in cfg.data and cfg.data.store is None:
        raise RecipeError("data.store must be the folder or URL of a prepared store, got null")
    paths = cfg.modalities.values() if isinstance(cfg.modalities, DictConfig) else [None]
    if not all(path and isinstance(path, str | ListConfig) for path in paths):
        raise RecipeError(
            f"modalities must map each modality to the path of its encoder, got {cfg.modalities!r}"
        )
    switch("rerun", cfg.rerun)
    _at_least("seed", cfg.seed, 0)
    if cfg.seed > _LARGEST_SEED:
        raise RecipeError(f"seed must be at most {_LARGEST_SEED}, got {cfg.seed}")
    _at_least("trainer.max_epochs", cfg.trainer.max_epochs, 1)
    if cfg.threads is not None:
        _at_least("threads", cfg.threads, 1)
    if "batch_size" in cfg.data:
        _at_least("data.batch_size", cfg.data.batch_size, 1)


def _at_least(path: str, value: Any, least: int) -> None:
    if type(value) is not int or value < least:
        raise RecipeError(f"{path} must be an integer of at least {least}, got {value!r}")


def targets(node: Any, path: str) -> Iterator[tuple[str, DictConfig]]:
    """What a configuration builds: each node with ``_target_``, by its path."""
    if isinstance(node, DictConfig):
        if "_target_" in node:
            yield path, node
        for key in node:
            yield from targets(node[key], f"{path}.{key}")


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
    if node.get("_partial_"):  # the rest is given by who calls it
        return
    required = {
        name
        for name, p in parameters.items()
        if p.default is p.empty and p.kind is not p.VAR_POSITIONAL
    }
    if lacking := sorted(required - given - _PROVIDED):
        raise RecipeError(f"{path} lacks {', '.join(lacking)}, which {node['_target_']} needs")
