"""One run of a diagnosis: train, read off what it has learnt, and probe its encoders."""

import dataclasses
import logging
import random
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.seed import isolate_rng
from torch import nn

from inforeg_lightning.callbacks import InfoRegCallback
from inforeg_lightning.diagnosis.errors import DiagnosisError
from inforeg_lightning.diagnosis.holding import Modules, held_at_zero, recorded, vectors
from inforeg_lightning.diagnosis.modules import (
    WithLoss,
    build_module,
    find_modules,
    framework_of,
    whole_paths,
)
from inforeg_lightning.diagnosis.monitor import ModalityMonitor
from inforeg_lightning.diagnosis.reading import Reader, check_separable, replaced
from inforeg_lightning.diagnosis.setup import ALONE, JOINT, LOSSES, QUIET, Job, Run, Setup
from inforeg_lightning.engine.own_heads import HiddenHeads, linear_heads
from inforeg_lightning.engine.probe.target import find_target

_HEADS = "_diagnosis_heads"
"""Where the heads of unimodal losses stand in a module while it trains."""
_WATCHED = 4
"""Batches at the end of each epoch of the joint run that its monitor looks at."""


def carry_out(setup: Setup, job: Job) -> Run:
    """Train one run and measure it; whatever goes wrong is a sentence in its ``problem``."""
    started = time.perf_counter()
    run = Run(job, {"epochs": setup.epochs_of(job.kind)})
    try:
        with _one_seed(job.seed, setup.threads):
            _carry_out(setup, job, run)
    except Exception as error:  # one run that fails must not take the others with it
        run.info["problem"] = f"{job.name}: {' '.join(str(error).split())} ({type(error).__name__})"
    run.info["seconds"] = round(time.perf_counter() - started, 2)
    return run


def look(setup: Setup) -> Setup:
    """Try on one batch whether the modalities can be told apart, before anything is trained.

    Returns:
        The setup with what was found: the widths of features and the number of classes.

    Raises:
        DiagnosisError: They cannot.
    """
    with _one_seed(0, setup.threads):
        module = build_module(setup.build, setup.optimizer)
        modules, head = find_modules(module, setup.encoders, setup.head)
        reader = Reader(setup, module, modules, head, (), False)
        found: list[tuple[dict[str, int], int]] = []

        def step(batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
            if not found:
                found.append(check_separable(reader, batch))

        with replaced(reader, _validate=step):
            reader.read(_trainer(setup, module, 1, limit_val_batches=1), setup.data.made())
        if setup.data.module is not None:  # other processes get it without this Trainer
            setup.data.module.trainer = None
    widths, classes = found[0]
    return dataclasses.replace(setup, widths=widths, classes=classes)


def _carry_out(setup: Setup, job: Job, run: Run) -> None:
    module = build_module(setup.build, setup.optimizer)
    modules: Modules
    modules, head = find_modules(module, setup.encoders, setup.head)
    others = [m for m in setup.modalities if m != job.modality] if job.kind == ALONE else []
    with held_at_zero(modules, others) if others else nullcontext():
        if job.kind == JOINT and job.seed in setup.checkpoints:
            _load(module, setup.checkpoints[job.seed])
            run.info["epochs"] = 0
        else:
            module, modules, head = _fit(setup, job, run, module, modules, head)
        probed = [m for m in setup.modalities if m not in others] if job.kind != LOSSES else []
        reader = Reader(setup, module, modules, head, probed, job.kind == JOINT)
        kept = reader.read(_trainer(setup, module, 1), setup.data.made())
    for name, x in kept.items():
        if "logits" in name and not bool(torch.isfinite(x).all()):
            raise DiagnosisError("its logits are NaN or infinite, so that it counts nowhere")
    run.arrays = {
        name: x.float().numpy() if x.is_floating_point() else x.numpy()
        for name, x in kept.items()
        if "features" not in name and name != "train target"
    }
    for modality in probed:
        run.arrays[f"probe {modality}"] = probe_classes(
            kept[f"train features {modality}"].numpy(),
            kept["train target"].numpy(),
            kept[f"test features {modality}"].numpy(),
        )


def _fit(
    setup: Setup, job: Job, run: Run, module: Any, modules: Modules, head: nn.Module
) -> tuple[Any, Modules, nn.Module]:
    epochs = setup.epochs_of(job.kind)
    validates = not isinstance(module, WithLoss) and _overrides(module, "validation_step")
    arguments = setup.data.fit_arguments(validates)
    if job.kind == LOSSES:
        if not module.automatic_optimization:
            raise DiagnosisError("the module optimises by hand, so that no loss can be added to it")
        with _unimodal_losses(setup, module, modules, head):
            _trainer(setup, module, epochs).fit(module, **arguments)
        return module, modules, head
    if job.kind == ALONE:
        _trainer(setup, module, epochs).fit(module, **arguments)
        return module, modules, head
    paths, head_path = whole_paths(module, setup.encoders, setup.head)
    try:
        meter = InfoRegCallback(paths, head_path, target=setup.target, window="never")
        monitor = ModalityMonitor(paths, head_path, target=setup.target, every=1, batches=_WATCHED)
        _trainer(setup, module, epochs, callbacks=[meter, monitor]).fit(module, **arguments)
        run.info["history"] = meter.history
        run.info["monitor"] = [{q: e[q] for q in ("share", "agreement")} for e in monitor.history]
    except ValueError as error:  # a head that cannot be split still trains
        run.info["no traces"] = " ".join(str(error).split())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(job.seed)
            module = build_module(setup.build, setup.optimizer)
            modules, head = find_modules(module, setup.encoders, setup.head)
            _trainer(setup, module, epochs).fit(module, **arguments)
    return module, modules, head


@contextmanager
def _unimodal_losses(
    setup: Setup, module: Any, modules: Modules, head: nn.Module
) -> Iterator[None]:
    """Add to the module's loss one cross-entropy per modality, of a linear head of its own.

    The heads are those of ``UnimodalLossesCallback(unimodal_heads="own")``, in number and draw. But
    their features are what the encoders return, as one vector per sample, and not what the joint
    head takes: so they are measured for every fusion, also where features are mixed before a head.
    """
    heads = linear_heads(setup.widths, setup.classes, head)
    hidden = HiddenHeads(heads)
    hidden.place = _HEADS
    module.add_module(_HEADS, hidden)
    own = module.training_step

    with recorded(modules, head) as (calls, outputs):

        def training_step(*args: Any, **kwargs: Any) -> Any:
            for made in (made for of in calls.values() for made in of):
                made.clear()
            outputs.clear()
            result = own(*args, **kwargs)
            target = find_target(kwargs["batch"] if "batch" in kwargs else args[0], setup.target)
            added = torch.zeros((), device=target.device)
            for modality, of in heads.items():
                z = vectors(calls[modality], len(target))
                if z is not None:
                    added = added + F.cross_entropy(of(z), target)
            if isinstance(result, Mapping):
                return {**result, "loss": result["loss"] + added}
            return None if result is None else result + added

        with replaced(module, training_step=training_step):
            yield
    delattr(module, _HEADS)


def _trainer(setup: Setup, module: Any, epochs: int, **more: Any) -> Any:
    own = dict(setup.trainer)
    callbacks = [*(own.pop("callbacks", None) or ()), *more.pop("callbacks", ())]
    return framework_of(module).Trainer(
        **{**QUIET, **own, **more, "max_epochs": epochs, "callbacks": callbacks}
    )


def _load(module: Any, checkpoint: Any) -> None:
    if not isinstance(checkpoint, Mapping):
        try:
            checkpoint = torch.load(checkpoint, map_location="cpu", weights_only=True)
        except (OSError, RuntimeError, ValueError, UnpicklingError) as error:
            raise DiagnosisError(
                f"`checkpoint` cannot be loaded ({' '.join(str(error).split())}): give a file of "
                "weights or a state_dict"
            ) from None
    weights = checkpoint.get("state_dict", checkpoint)
    try:
        (module.model if isinstance(module, WithLoss) else module).load_state_dict(weights)
    except RuntimeError as error:
        raise DiagnosisError(
            f"`checkpoint` is of another network than `build` makes: {' '.join(str(error).split())}"
        ) from None


def _overrides(module: Any, name: str) -> bool:
    framework = framework_of(module).LightningModule
    return getattr(type(module), name) is not getattr(framework, name)


@contextmanager
def _one_seed(seed: int, threads: int | None) -> Iterator[None]:
    """Draw from one seed, on so many threads, and quietly; leave the caller's state as it was."""
    before = torch.get_num_threads()
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "pytorch_lightning")]
    levels = [logger.level for logger in loggers]
    with isolate_rng(), warnings.catch_warnings():
        # Of a loader or a step for validation that has no counterpart, which is meant so.
        warnings.filterwarnings("ignore", message=r"You (defined|passed in) a `val")
        warnings.filterwarnings("ignore", message="ModalityMonitor: there is no")
        # Lightning 2.6.6 asks torch's pytree in a way that torch 2.14 deprecates.
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)`")
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - what a user's data set draws from
        torch.manual_seed(seed)
        if threads is not None:
            torch.set_num_threads(threads)
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            torch.set_num_threads(before)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def probe_classes(train: Any, target: Any, test: Any) -> Any:
    """The classes that a logistic regression on frozen features names for the test set.

    Args:
        train: Features to fit on, shape ``(N, D)``.
        target: Their classes.
        test: Features to name the classes of.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    with warnings.catch_warnings():
        # Where the iterations end, the regularised optimum is near enough.
        warnings.filterwarnings("ignore", module="sklearn")
        probe.fit(train, target)
    return probe.predict(test)
