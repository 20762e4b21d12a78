"""One run, from a composed configuration to a finished run folder."""

import os
import platform
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.plugins.environments import LightningEnvironment
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from inforeg_lightning.report.folder import (
    CHECKPOINT_FOLDER,
    Predictions,
    write_config,
    write_history,
    write_predictions,
    write_result,
)
from inforeg_lightning.report.measures import ACCURACY, measure, metric_of
from running.building import (
    beside_others,
    build_data,
    build_methods,
    build_model,
    build_trainer,
    metric_of_model,
    share_batch,
)
from running.checks import switch
from running.claim import claimed, finished, identity
from running.compose import Place
from running.errors import RecipeError
from running.evaluation import Outputs, evaluate
from running.health import Health
from running.pretrained import begin_from
from running.progress import EpochLines
from running.secrets import public


def run(
    cfg: DictConfig, place: Place, watchers: Sequence[Callback] | None = None
) -> dict[str, Any]:
    """Train, evaluate and write the run folder, unless the same run is there already.

    With several processes (``trainer.devices`` above 1), every process calls this; the first alone
    writes, evaluates and returns the result.

    Args:
        cfg: The composed and checked configuration.
        place: Where it goes.
        watchers: Callbacks that show progress; by default one printed line per epoch.

    Returns:
        What ``result.json`` holds; nothing in a process that is not the first.

    Raises:
        RecipeError: The configuration cannot run, its folder holds another run, or another process
            trains there. Nothing is left behind then.
    """
    rerun = switch("rerun", cfg.rerun)
    if rank_zero_only.rank > 0:
        return _follow(cfg, place, rerun)
    with claimed(place.folder, identity(cfg), rerun, waits=beside_others()) as claim:
        if claim.there:
            what = "this run is there already, nothing to do"
            print(f"{place.folder}: {what} (rerun=true repeats it)")
            return claim.there
        if watchers is None:
            print(f"{place.folder}: {cfg.callbacks.title}, seed {cfg.seed}")
            watchers = [EpochLines()]
        health = Health()
        try:
            result = _train(cfg, place, watchers, health)
        except Exception as error:
            if health.begun and not isinstance(error, RecipeError):
                raise
            claim.vacate()
            if isinstance(error, RecipeError):
                raise
            raise RecipeError(
                f"the run cannot begin: {' '.join(str(error).split())} ({type(error).__name__}); "
                "nothing was left behind"
            ) from error
    if any(isinstance(watcher, EpochLines) for watcher in watchers):
        print(_summary(result))
    return result


def _follow(cfg: DictConfig, place: Place, rerun: bool) -> dict[str, Any]:
    """A further process of a run: it trains, and leaves the folder to the first."""
    if rerun or not finished(place.folder, identity(cfg)):
        _fit(cfg, place, instantiate(cfg.logger, save_dir=place.folder), [Health()])
    return {}


def _train(
    cfg: DictConfig, place: Place, watchers: Sequence[Callback], health: Health
) -> dict[str, Any]:
    # Before anything else is written: the logger wants its folder empty.
    logger = instantiate(cfg.logger, save_dir=place.folder)
    logger.experiment  # noqa: B018
    write_config(place.folder, OmegaConf.to_yaml(public(OmegaConf.to_container(cfg, resolve=True))))
    started = time.perf_counter()
    trainer, model, data, methods = _fit(cfg, place, logger, [*watchers, health])
    fitted = time.perf_counter()

    # Before a checkpoint is loaded, which would take a callback's history back to its epoch.
    history = [period for method in methods for period in getattr(method, "history", [])]
    write_history(place.folder, history)
    evaluations: dict[str, Any] = {}
    if not health.diverged:
        judge = _judge(cfg, trainer)
        best, last = (file.best_model_path for file in trainer.checkpoint_callbacks)
        if not (best and last):
            raise RecipeError("the training ended before an epoch was validated; train for longer")
        # The last one last: its features are kept.
        found = {
            name: evaluate(model, data, judge, Path(file), place.folder)
            for name, file in (("best", best), ("last", last))
        }
        evaluations = {name: metrics for name, (metrics, _) in found.items()}
        outputs = {name: of for name, (_, of) in found.items()}
        if (predictions := _predictions(outputs)) is not None:
            write_predictions(place.folder, predictions)
    seconds = {"fit": fitted - started, "total": time.perf_counter() - started}
    result = _result(cfg, place, trainer.current_epoch, seconds) | _measured(model) | evaluations
    if health.diverged:
        result["diverged"] = health.diverged
    write_result(place.folder, result)
    return result


def _fit(
    cfg: DictConfig, place: Place, logger: Any, watchers: Sequence[Callback]
) -> tuple[L.Trainer, L.LightningModule, L.LightningDataModule, list[Callback]]:
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    L.seed_everything(cfg.seed, workers=True, verbose=False)
    data, model, methods = build_data(cfg), build_model(cfg), build_methods(cfg)
    methods += begin_from(cfg, model)
    checkpoints = _checkpoints(place.folder / CHECKPOINT_FOLDER, metric_of_model(model))
    trainer = build_trainer(cfg, callbacks=[*methods, *watchers, *checkpoints], logger=logger)
    share_batch(data, trainer)
    trainer.fit(model, datamodule=data)
    if torch.distributed.is_initialized():
        # What follows is for one process; metrics would wait for the others.
        torch.distributed.destroy_process_group()
    return trainer, model, data, methods


def _predictions(outputs: Mapping[str, Mapping[str, Outputs]]) -> Predictions | None:
    found = {
        (name, split): o.log_probabilities
        for name, of in outputs.items()
        for split, o in of.items()
        if o.log_probabilities is not None
    }
    return Predictions(found, {s: o.label for s, o in outputs["last"].items()}) if found else None


def _judge(cfg: DictConfig, trainer: L.Trainer) -> L.Trainer:
    """A trainer for evaluation, in one process: shares of a test set would be padded."""
    alone: dict[str, Any] = {}
    if trainer.num_devices * trainer.num_nodes > 1:
        # Its own environment: torchrun's or SLURM's would insist on all processes.
        alone = {"devices": 1, "num_nodes": 1, "strategy": "auto"}
        alone["plugins"] = LightningEnvironment()
    return build_trainer(cfg, logger=False, enable_checkpointing=False, **alone)


def _measured(model: L.LightningModule) -> dict[str, Any]:
    """What a result says of its metrics, where they are not those of classes."""
    task = getattr(model, "task", "classes")
    further = [*getattr(model, "fused_metrics", ())]
    metric = metric_of_model(model)
    if task == "classes" and set(further) <= {ACCURACY, "macro_f1"}:
        return {}
    return {"task": task, "metric": metric, "metrics": [n for n in further if n != metric]}


def _checkpoints(folder: Path, metric: str) -> tuple[ModelCheckpoint, ModelCheckpoint]:
    # `save_last=True` would write only when the best is beaten, which is not the last epoch.
    return (
        ModelCheckpoint(
            folder,
            filename="best",
            monitor=f"val/{metric}",  # never the test set
            mode="min" if measure(metric).lower_is_better else "max",
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
    if "diverged" in result:
        return f"  {result['diverged']}; nothing is evaluated, and result.json says so"
    metric = metric_of(result)
    of = measure(metric)
    better = " (lower is better)" if of.lower_is_better else ""
    seconds = f"{result['epochs']} epochs in {result['seconds']['fit']:.0f} s"
    lines = [f"  {seconds}; test {of.title}{better}:"]
    for name, chosen in (("best", "best epoch on validation"), ("last", "last epoch")):
        part = result[name]
        test = part["test"]
        heads = {
            m: f"head {test[k]:.3f}, " for m in part["probe"] if (k := f"{metric}_{m}") in test
        }
        each = "; ".join(f"{m}: {heads.get(m, '')}probe {p:.3f}" for m, p in part["probe"].items())
        lines.append(f"    {chosen} ({part['epoch'] + 1}): {test[metric]:.3f} ({each})")
    return "\n".join(lines)
