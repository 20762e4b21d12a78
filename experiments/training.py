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
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from omegaconf import DictConfig, OmegaConf

from checks import check
from evaluation import evaluate
from run_folder import claim, identity, write_json

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

    Args:
        cfg: The composed configuration.
        place: Where it goes.
        watchers: Callbacks that show progress; by default one printed line an epoch.

    Returns:
        What ``result.json`` holds.

    Raises:
        RecipeError: The configuration cannot run, or its folder holds another run.
    """
    check(cfg)
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


def _train(
    cfg: DictConfig, place: Place, logger: Any, watchers: Sequence[Callback]
) -> dict[str, Any]:
    started = time.perf_counter()
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
    best, last = _checkpoints(place.folder / "checkpoints")
    trainer = instantiate(cfg.trainer, callbacks=[*methods, *watchers, best, last], logger=logger)
    trainer.fit(model, datamodule=data)
    fitted = time.perf_counter()

    # Before a checkpoint is loaded, which would take a callback's history back to its epoch.
    history = [period for method in methods for period in getattr(method, "history", [])]
    write_json(place.folder / "history.json", history)
    judge = instantiate(cfg.trainer, logger=False, enable_checkpointing=False)
    files = {"best": best.best_model_path, "last": last.best_model_path}
    evaluations = {name: evaluate(model, data, judge, Path(file)) for name, file in files.items()}
    seconds = {"fit": fitted - started, "total": time.perf_counter() - started}
    result = _result(cfg, place, trainer.current_epoch, seconds) | evaluations
    write_json(place.folder / "result.json", result)
    return result


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
