"""One run, from a composed configuration to a finished run folder."""

import logging
import os
import platform
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from checks import RecipeError, check
from evaluation import evaluate
from run_folder import claim, finished, identity, write_json

# Lightning 2.6.6 itself calls what torch 2.14 deprecates; nothing here can avoid it.
warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
# Tips on accelerators and the like, repeated for every run; warnings still come through.
logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
logging.getLogger("lightning.fabric").setLevel(logging.WARNING)


@dataclass(frozen=True)
class Place:
    """Where a run goes and how it was asked for.

    Attributes:
        folder: Its run folder.
        overrides: The overrides of the command line.
        variant: Those of them that tell it from the method in the experiment as it is.
    """

    folder: Path
    overrides: tuple[str, ...]
    variant: str


def place_of() -> Place:
    """The place of the run that Hydra is composing, the same for a single run and a sweep."""
    hydra = HydraConfig.get()
    return Place(Path(hydra.run.dir), tuple(hydra.overrides.task), hydra.job.override_dirname)


def run(
    cfg: DictConfig, place: Place, watchers: Sequence[Callback] | None = None
) -> dict[str, Any]:
    """Train, evaluate and write the run folder, unless the same run is there already.

    With several processes (``trainer.devices`` above 1), every process calls this; the first alone
    writes, evaluates and returns the result.

    Args:
        cfg: The composed configuration.
        place: Where it goes.
        watchers: Callbacks that show progress; by default one printed line an epoch.

    Returns:
        What ``result.json`` holds; nothing in a process that is not the first.

    Raises:
        RecipeError: The configuration cannot run, or its folder holds another run.
    """
    check(cfg)
    if rank_zero_only.rank > 0:
        return _follow(cfg, place)
    if done := claim(place.folder, identity(cfg), cfg.rerun):
        print(f"{place.folder}: this run is there already, nothing to do (rerun=true repeats it)")
        return done
    # Before anything else is written: the logger wants its folder empty.
    logger = instantiate(cfg.logger, save_dir=place.folder)
    logger.experiment  # noqa: B018
    OmegaConf.save(cfg, place.folder / "config.yaml", resolve=True)
    if watchers is None:
        print(f"{place.folder}: {cfg.callbacks.title}, seed {cfg.seed}")
        watchers = [EpochLines()]
    result = _train(cfg, place, logger, watchers)
    if any(isinstance(watcher, EpochLines) for watcher in watchers):
        print(_summary(result))
    return result


def _follow(cfg: DictConfig, place: Place) -> dict[str, Any]:
    """A further process of a run: it trains, and leaves the folder to the first."""
    if cfg.rerun or not finished(place.folder, identity(cfg)):
        _fit(cfg, place, instantiate(cfg.logger, save_dir=place.folder), [])
    return {}


def _train(
    cfg: DictConfig, place: Place, logger: Any, watchers: Sequence[Callback]
) -> dict[str, Any]:
    started = time.perf_counter()
    trainer, model, data, methods = _fit(cfg, place, logger, watchers)
    fitted = time.perf_counter()

    # Before a checkpoint is loaded, which would take a callback's history back to its epoch.
    history = [period for method in methods for period in getattr(method, "history", [])]
    write_json(place.folder / "history.json", history)
    judge = _judge(cfg, trainer)
    best, last = (file.best_model_path for file in trainer.checkpoint_callbacks)
    # The last one last: its features are kept.
    evaluations = {
        name: evaluate(model, data, judge, Path(file), place.folder / "features.npz")
        for name, file in (("best", best), ("last", last))
    }
    seconds = {"fit": fitted - started, "total": time.perf_counter() - started}
    result = _result(cfg, place, trainer.current_epoch, seconds) | evaluations
    write_json(place.folder / "result.json", result)
    return result


def _fit(
    cfg: DictConfig, place: Place, logger: Any, watchers: Sequence[Callback]
) -> tuple[L.Trainer, L.LightningModule, L.LightningDataModule, list[Callback]]:
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data = instantiate(cfg.data, _convert_="all")
    model = instantiate(cfg.model, _convert_="all")
    methods = [
        instantiate(node, _convert_="all")
        for node in cfg.callbacks.values()
        if isinstance(node, DictConfig) and "_target_" in node
    ]
    checkpoints = _checkpoints(place.folder / "checkpoints")
    trainer = instantiate(cfg.trainer, callbacks=[*methods, *watchers, *checkpoints], logger=logger)
    _share_batch(data, trainer)
    trainer.fit(model, datamodule=data)
    if torch.distributed.is_initialized():
        # What follows is for one process; metrics would wait for the others.
        torch.distributed.destroy_process_group()
    return trainer, model, data, methods


def _share_batch(data: L.LightningDataModule, trainer: L.Trainer) -> None:
    """Give each process its part of a batch: a recipe's batch is that of an optimiser step."""
    processes = trainer.num_devices * trainer.num_nodes
    if processes == 1:
        return
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        raise RecipeError(
            f"a sweep (-m) trains in one process, and trainer.devices asks for {processes}; train "
            "one run a command, or let experiments/paper.py do it"
        )
    if data.batch_size % processes:
        raise RecipeError(
            f"data.batch_size is that of all processes together: {data.batch_size} cannot be "
            f"shared by {processes} (trainer.devices × trainer.num_nodes)"
        )
    data.batch_size //= processes


def _judge(cfg: DictConfig, trainer: L.Trainer) -> L.Trainer:
    """A trainer for evaluation, in one process: shares of a test set would be padded."""
    alone: dict[str, Any] = {}
    if trainer.num_devices * trainer.num_nodes > 1:
        # Its own environment: torchrun's or SLURM's would insist on all processes.
        alone = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
        alone["plugins"] = LightningEnvironment()
    return instantiate(cfg.trainer, logger=False, enable_checkpointing=False, **alone)


def _checkpoints(folder: Path) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    # `save_last=True` would write only when the best is beaten, which is not the last epoch.
    return (
        ModelCheckpoint(
            folder,
            filename="best",
            monitor="val/accuracy",  # never the test set
            mode="max",
            enable_version_counter=False,
        ),
        ModelCheckpoint(
            folder, filename="last", save_on_train_epoch_end=True, enable_version_counter=False
        ),
    )


def _result(
    cfg: DictConfig, place: Place, epochs: int, seconds: Mapping[str, float]
) -> dict[str, Any]:
    return {
        "experiment": cfg.name,
        "method": cfg.callbacks.name,
        "variant": place.variant,
        "title": cfg.callbacks.title,
        "seed": cfg.seed,
        "modalities": list(cfg.modalities),
        "epochs": epochs,
        "overrides": list(place.overrides),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("inforeg-lightning", "torch", "lightning")},
        },
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        },
        "config": identity(cfg),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _summary(result: Mapping[str, Any]) -> str:
    lines = [f"  {result['epochs']} epochs in {result['seconds']['fit']:.0f} s; test accuracy:"]
    for name, chosen in (("best", "best epoch on validation"), ("last", "last epoch")):
        part = result[name]
        of = ", ".join(
            f"{m} {part['test'].get(f'accuracy_{m}', float('nan')):.3f} "
            f"(probe {part['probe'][m]:.3f})"
            for m in result["modalities"]
        )
        lines.append(
            f"    {chosen} ({part['epoch'] + 1}): {part['test']['accuracy']:.3f}; heads: {of}"
        )
    return "\n".join(lines)


class EpochLines(Callback):
    """Print one line an epoch, in a terminal and in a log file alike."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Print the epoch's loss and validation accuracies."""
        seen = {name: float(value) for name, value in trainer.callback_metrics.items()}
        prefix = "val/accuracy_"
        of = [f"{k.removeprefix(prefix)} {v:.3f}" for k, v in seen.items() if k.startswith(prefix)]
        print(
            f"  epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
            f"  train loss {seen.get('train/loss', float('nan')):.3f}"
            f"  val accuracy {seen.get('val/accuracy', float('nan')):.3f} ({', '.join(of)})",
            flush=True,
        )
