"""One run, one folder: what identifies a run, and how its folder is claimed and filled.

A folder holds ``config.yaml``, ``metrics.csv``, ``history.json``, ``features.npz``,
``checkpoints/`` and, once the run is finished, ``result.json``. A run is identified by what is
built from its configuration, so that a sweep over a parameter that a method does not have repeats
no training.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from checks import RecipeError

# Where data lie and how they are shown or fetched does not change what is learnt.
_WITHOUT_INFLUENCE = (
    ("data", "root"),
    ("data", "store"),
    ("data", "download"),
    ("data", "num_workers"),
    ("trainer", "enable_progress_bar"),
    ("trainer", "log_every_n_steps"),
)
_OWN_FILES = (
    "config.yaml",
    "hparams.yaml",
    "metrics.csv",
    "history.json",
    "features.npz",
    "result.json",
)


def identity(cfg: DictConfig) -> dict[str, Any]:
    """Everything in a configuration that has a say in the numbers, as plain data."""
    keys = ("seed", "threads", "data", "model", "trainer", "callbacks")
    plain: dict[str, Any] = OmegaConf.to_container(cfg, resolve=True)  # type: ignore[assignment]
    built = {key: plain[key] for key in keys}
    built["callbacks"] = {
        name: node
        for name, node in plain["callbacks"].items()
        if isinstance(node, dict) and "_target_" in node
    }
    for group, key in _WITHOUT_INFLUENCE:
        built[group].pop(key, None)
    return built


def finished(folder: Path, run: Mapping[str, Any]) -> dict[str, Any] | None:
    """The result of a run where it is finished in this folder already, else ``None``.

    Args:
        folder: The run folder; it need not exist, and stays as it is.
        run: ``identity`` of the run.

    Raises:
        RecipeError: The folder holds a finished run of another configuration.
    """
    file = folder / "result.json"
    if not file.exists():
        return None
    result: dict[str, Any] = json.loads(file.read_text())
    if result["config"] == json.loads(json.dumps(run)):
        return result
    raise RecipeError(
        f"{folder} holds a finished run of another configuration "
        f"({_difference(result['config'], run)}); give rerun=true to replace it, "
        "or runs=FOLDER to put this one elsewhere"
    )


def claim(folder: Path, run: Mapping[str, Any], rerun: bool) -> dict[str, Any] | None:
    """Take a folder for a run: empty it of an older run's files, unless that run is this one.

    Args:
        folder: The run folder; made if missing. Files that are not a run's own are left alone.
        run: ``identity`` of the run.
        rerun: Replace a finished run, whatever its configuration.

    Returns:
        The result of the same run where it is finished already, else ``None``.

    Raises:
        RecipeError: The folder holds a finished run of another configuration.
    """
    if not rerun and (result := finished(folder, run)):
        return result
    for name in _OWN_FILES:
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    return None


def write_json(path: Path, content: Any) -> None:
    """Write a file that is either whole or not there."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    os.replace(partial, path)


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    before, after = _flat(old), _flat(new)
    changed = [k for k in sorted(before | after) if before.get(k) != after.get(k)]
    return ", ".join(f"{k}: {before.get(k)!r} there, {after.get(k)!r} here" for k in changed[:3])


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
