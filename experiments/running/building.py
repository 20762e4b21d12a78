"""Build what a configuration names; whatever cannot be built is one error that says where."""

import inspect
import logging
import pkgutil
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import lightning.pytorch as L
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig

from inforeg_lightning.models.tasks import TASKS
from running.errors import RecipeError

# Lightning 2.6.6 itself calls what torch 2.14 deprecates; nothing here can avoid it.
warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
# Tips on accelerators and the like, repeated for every run; warnings still come through.
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
logging.getLogger("lightning.fabric").setLevel(logging.WARNING)

Built = TypeVar("Built")


def build_data(cfg: DictConfig) -> L.LightningDataModule:
    """The data module."""
    return _built("data", lambda: instantiate(cfg.data, _convert_="all"))


def build_model(cfg: DictConfig) -> L.LightningModule:
    """The model."""
    return _built("model", lambda: instantiate(cfg.model, _convert_="all"))


def build_methods(cfg: DictConfig) -> list[Callback]:
    """The callbacks that ``callbacks`` names; none for plain joint training.

    What follows from model and data is said to them here, where their files say nothing else: the
    ``score`` of the task (where a method has one), and where samples lack a modality.
    """
    return [
        _built(
            f"callbacks.{name}",
            lambda node=node: instantiate(node, _convert_="all", **_implied(cfg, node)),
        )
        for name, node in cfg.callbacks.items()
        if isinstance(node, DictConfig) and "_target_" in node
    ]


def _implied(cfg: DictConfig, node: DictConfig) -> dict[str, Any]:
    known = inspect.signature(pkgutil.resolve_name(node["_target_"])).parameters
    task = TASKS.get(cfg.model.get("task", "classes"))
    found: dict[str, Any] = {}
    if task is not None and task.score != "log_prob":
        found["score"] = task.score
    if cfg.data.get("gaps"):
        found["present"] = "present"
    return {name: value for name, value in found.items() if name in known and name not in node}


def metric_of_model(model: L.LightningModule) -> str:
    """The metric by which validation chooses among a model's epochs."""
    return TASKS[getattr(model, "task", "classes")].metric


def build_trainer(cfg: DictConfig, **given: Any) -> L.Trainer:
    """The trainer, with what the program gives it besides."""
    return _built("trainer", lambda: instantiate(cfg.trainer, **given))


def check_built(cfg: DictConfig) -> None:
    """Build everything once, leaving nothing behind.

    Raises:
        RecipeError: Something cannot be built, or what is built does not fit together.
    """
    data = build_data(cfg)
    if hasattr(data, "check"):
        _built("data", data.check)
    model = build_model(cfg)
    _check_classes(data, model)
    for modality, paths in cfg.modalities.items():
        for path in [paths] if isinstance(paths, str) else paths:
            _built(f"modalities.{modality}", lambda path=path: model.get_submodule(path))
    _built("model", model.configure_optimizers)
    build_methods(cfg)
    trainer = build_trainer(cfg, logger=False, enable_checkpointing=False)
    _check_lengths(trainer)
    share_batch(data, trainer)


def _check_classes(data: L.LightningDataModule, model: L.LightningModule) -> None:
    """Refuse a head for another number of classes than the data have."""
    names = getattr(data, "class_names", None)
    logits = model.hparams.get("num_classes")
    if names is not None and logits is not None and logits != len(names):
        raise RecipeError(
            f"model.num_classes is {logits}, but the data have {len(names)} classes: "
            f"{', '.join(map(str, names[:12]))}{', …' if len(names) > 12 else ''}"
        )


def share_batch(data: L.LightningDataModule, trainer: L.Trainer) -> None:
    """Give each process its part of a batch: a recipe's batch is that of an optimiser step."""
    processes = trainer.num_devices * trainer.num_nodes
    if processes == 1:
        return
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise RecipeError(
            f"a sweep (-m) trains in one process, and trainer.devices asks for {processes}; train "
            "one run per command, or let experiments/study.py do it"
        )
    if data.batch_size % processes:
        raise RecipeError(
            f"data.batch_size is that of all processes together: {data.batch_size} cannot be "
            f"shared by {processes} (trainer.devices × trainer.num_nodes)"
        )
    data.batch_size //= processes


def beside_others() -> bool:
    """Whether a launcher trains the runs of a sweep side by side.

    Two of them may be the same run, of which one waits for the other then: joint training has no
    β, and is there once for all values.
    """
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return False
    return not str(HydraConfig.get().launcher.get("_target_")).endswith(".BasicLauncher")


def _check_lengths(trainer: L.Trainer) -> None:
    """Refuse a training without a validated epoch, or without one of the three splits."""
    remedy = "it trains, chooses the best epoch on validation, and tests"
    if trainer.fast_dev_run:
        raise RecipeError(f"trainer.fast_dev_run leaves no checkpoint to evaluate: {remedy}")
    for split in ("train", "val", "test"):
        if getattr(trainer, f"limit_{split}_batches") == 0:
            raise RecipeError(f"trainer.limit_{split}_batches must leave some, got 0: {remedy}")
    every = trainer.check_val_every_n_epoch
    if every is not None and not 1 <= every <= (trainer.max_epochs or 1):
        raise RecipeError(
            f"trainer.check_val_every_n_epoch must be from 1 to trainer.max_epochs, got {every}: "
            f"{remedy}"
        )


def _built(path: str, build: Callable[[], Built]) -> Built:
    try:
        return build()
    except InstantiationException as error:
        cause = error.__cause__ or error
        raise RecipeError(_sentence(path, cause)) from cause
    except RecipeError:
        raise
    except Exception as error:  # whatever a class makes of an argument that is not meant for it
        raise RecipeError(_sentence(path, error)) from error


def _sentence(path: str, error: BaseException) -> str:
    text = str(error)
    if "\n  " not in text:  # else it is laid out, as a tree of folders is
        text = " ".join(text.split())
    if text and isinstance(error, OSError | RuntimeError | ValueError | ImportError):
        return f"{path}: {text}"
    return f"{path}: {text or 'cannot be built'} ({type(error).__name__})"
