"""The diagnosis of a model: what it trains, in which order, and what becomes of it."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities.seed import isolate_rng

from inforeg_lightning.diagnosis.data import make_data
from inforeg_lightning.diagnosis.errors import DiagnosisError
from inforeg_lightning.diagnosis.modules import Build, MakeOptimizer, adam, check_build
from inforeg_lightning.diagnosis.report import Diagnosis, conclude
from inforeg_lightning.diagnosis.rules import Thresholds
from inforeg_lightning.diagnosis.setup import Job, Run, Setup, jobs_of
from inforeg_lightning.diagnosis.storage import RunFolder
from inforeg_lightning.diagnosis.training import carry_out, look
from inforeg_lightning.engine.checks import check_encoders
from inforeg_lightning.engine.probe.target import Target


def diagnose(
    build: Build,
    train: Any,
    validation: Any = None,
    test: Any = None,
    *,
    encoders: Mapping[str, str | Sequence[str]],
    head: str,
    target: Target = None,
    max_epochs: int,
    seeds: int | Sequence[int] = 5,
    fraction: float = 1.0,
    checkpoint: Any = None,
    workers: int = 1,
    folder: str | Path | None = None,
    trainer: Mapping[str, Any] | None = None,
    optimizer: MakeOptimizer = adam,
    threads: int | None = None,
    reference: Mapping[str, float] | None = None,
    thresholds: Thresholds | None = None,
    progress: bool = True,
) -> Diagnosis:
    """Say whether a multimodal model suffers, from what, and what to do; with the numbers.

    Per seed it trains the model jointly, each modality alone (on the same module, with the
    features of the others held at zero before they are fused), and once with an additional
    cross-entropy per modality on a linear head of its own: ``modalities + 2`` runs, of which the
    first is the training that one has to do anyway. Everything is measured on ``test``; whatever
    has to be chosen is chosen on ``validation``.

    Args:
        build: Makes a fresh LightningModule at every call; or a pair ``(module, loss)`` of a torch
            module and ``loss(module, batch)``, which is trained by ``optimizer``.
        train: Loader to train on; or a LightningDataModule that has all three.
        validation: Loader to choose on; it must not shuffle.
        test: Loader to measure on; it must not shuffle.
        encoders: Modality -> attribute path, or several, of its encoder in the module.
        head: Attribute path of the module that makes the logits, ``(B, C)``.
        target: Where the class indices are in a batch: a key, an index or a callable; by default
            the key ``"label"`` of a mapping, the last element of a sequence.
        max_epochs: Epochs of the joint training.
        seeds: Seeds of weights and order, or how many. Fewer leave wider intervals, and more often
            an answer that is "cannot tell".
        fraction: Epochs of all other runs as a share of ``max_epochs``. Below 1 they learn less,
            and what they are compared with looks better than it is.
        checkpoint: Of a joint training that is reused, for the first seed: a path or a state_dict;
            or a list of them, one per seed.
        workers: Processes that train side by side.
        folder: Where finished runs are kept, and taken from when the same call is made again.
        trainer: Arguments of the Trainer, as ``{"accelerator": "gpu", "precision": "bf16-mixed"}``.
        optimizer: Of a plain torch module: its parameters to an optimizer.
        threads: torch's threads in each run; ``None`` leaves them as they are.
        reference: What others reach, for the table and the picture: modality or ``"fused"`` ->
            accuracy, as people do who rate the same clips.
        thresholds: How large differences have to be.
        progress: Whether a progress bar is shown.

    Returns:
        The diagnosis: ``.verdict``, ``.modalities["video"].state``, ``.table``, ``.to_json()``,
        ``.plot()``; it prints as a page of text.

    Raises:
        DiagnosisError: The model, a loader or an argument does not allow a diagnosis. Nothing has
            been trained then. What goes wrong later is a sentence in ``.notes``, and what was
            measured is kept.
    """
    found_seeds = _seeds(seeds)
    _check(max_epochs, fraction, workers, encoders)
    with isolate_rng():  # networks draw their weights, and loaders a seed for each pass
        check_build(build, optimizer)
        data = make_data(train, validation, test)
    setup = Setup(
        build,
        data,
        dict(encoders),
        head,
        target,
        max_epochs,
        fraction,
        dict(trainer or {}),
        threads,
        optimizer,
        dict(zip(found_seeds, _checkpoints(checkpoint, found_seeds), strict=False)),
    )
    setup = look(setup)
    jobs = jobs_of(setup, found_seeds)
    with tempfile.TemporaryDirectory() if folder is None else nullcontext(folder) as place:
        kept = RunFolder(Path(place), setup)
        runs = _carry_out_all(setup, jobs, kept, workers, progress)
        diagnosis = conclude(setup, runs, thresholds or Thresholds(), reference or {})
        kept.save_diagnosis(diagnosis.to_dict())
    return diagnosis


def _carry_out_all(
    setup: Setup, jobs: Sequence[Job], kept: RunFolder, workers: int, progress: bool
) -> list[Run]:
    from tqdm.auto import tqdm

    found = {job: kept.load(job) for job in jobs}
    missing = [job for job, run in found.items() if run is None]
    with tqdm(total=len(jobs), initial=len(jobs) - len(missing), disable=not progress) as bar:
        for run in _results(setup, missing, kept, workers, bar.set_description):
            found[run.job] = run
            bar.update()
    return [run for run in found.values() if run is not None]


def _results(
    setup: Setup,
    jobs: Sequence[Job],
    kept: RunFolder,
    workers: int,
    tell: Callable[[str], object],
) -> Iterator[Run]:
    if workers == 1:
        for job in jobs:
            tell(job.name)
            yield _one(setup, job, kept)
        return
    try:
        from joblib import Parallel, delayed
    except ImportError as error:
        raise DiagnosisError(
            "`workers` above 1 needs joblib: pip install 'inforeg-lightning[diagnosis]'"
        ) from error
    tell(f"{workers} at a time")
    pool = Parallel(n_jobs=workers, return_as="generator_unordered")
    yield from pool(delayed(_one)(setup, job, kept) for job in jobs)


def _one(setup: Setup, job: Job, kept: RunFolder) -> Run:
    run = carry_out(setup, job)
    if not run.problem:
        kept.save(run)
    return run


def _seeds(seeds: int | Sequence[int]) -> tuple[int, ...]:
    found = tuple(range(seeds)) if isinstance(seeds, int) else tuple(dict.fromkeys(seeds))
    if not found or not all(isinstance(seed, int) and seed >= 0 for seed in found):
        raise DiagnosisError(
            f"`seeds` must be how many, or integers of at least 0, but is {seeds!r}"
        )
    return found


def _checkpoints(checkpoint: Any, seeds: Sequence[int]) -> list[Any]:
    found = [] if checkpoint is None else [checkpoint]
    if isinstance(checkpoint, list | tuple):
        found = [*checkpoint]
    if len(found) > len(seeds):
        raise DiagnosisError(
            f"`checkpoint` has {len(found)} joint trainings, but `seeds` only {len(seeds)}"
        )
    return found


def _check(
    max_epochs: int,
    fraction: float,
    workers: int,
    encoders: Mapping[str, str | Sequence[str]],
) -> None:
    if not isinstance(max_epochs, int) or max_epochs < 1:
        raise DiagnosisError(f"`max_epochs` must be at least 1, but is {max_epochs!r}")
    if not 0 < fraction <= 1:
        raise DiagnosisError(f"`fraction` must be above 0 and at most 1, but is {fraction!r}")
    if not isinstance(workers, int) or workers < 1:
        raise DiagnosisError(f"`workers` must be at least 1, but is {workers!r}")
    check_encoders(encoders)
