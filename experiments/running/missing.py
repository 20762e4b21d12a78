"""Finished runs evaluated with modalities missing, from the checkpoints that they keep."""

from collections.abc import Iterable
from typing import Any

import torch
from omegaconf import OmegaConf

from inforeg_lightning.diagnosis import DiagnosisError, Subsets, compare_subsets, evaluate_subsets
from inforeg_lightning.diagnosis.subsets import subset_title
from inforeg_lightning.report import Run
from inforeg_lightning.report.folder import CHECKPOINT_FOLDER, CONFIG
from running.building import build_data, build_model
from running.errors import RecipeError


def evaluate_run(run: Run) -> Subsets:
    """The test accuracy of a run's last checkpoint under every subset of its modalities.

    Raises:
        RecipeError: Its configuration or checkpoint is not there, or cannot be evaluated.
    """
    file = run.folder / CHECKPOINT_FOLDER / "last.ckpt"
    try:
        cfg: Any = OmegaConf.load(run.folder / CONFIG)
        weights = torch.load(file, map_location="cpu", weights_only=True)["state_dict"]
    except OSError as error:
        raise RecipeError(f"{run.folder} cannot be evaluated again: {error}") from None
    if (task := cfg.model.get("task", "classes")) != "classes":
        raise RecipeError(
            f"{run.folder}: accuracy by subset is of classes, and its task is {task}; "
            "diagnosis.evaluate_subsets takes any metric"
        )
    if cfg.threads is not None:
        torch.set_num_threads(cfg.threads)
    model, data = build_model(cfg), build_data(cfg)
    model.load_state_dict(weights)
    data.prepare_data()
    data.setup("test")
    encoders: Any = OmegaConf.to_container(cfg.modalities, resolve=True)
    # As a Trainer would: some data make their pixels on the device.
    batches = (data.on_after_batch_transfer(batch, 0) for batch in data.test_dataloader())
    try:
        return evaluate_subsets(model, encoders, "head", batches)
    except DiagnosisError as error:
        raise RecipeError(f"{run.folder}: {error}") from error


def kept_subsets(runs: Iterable[Run]) -> dict[str, Any]:
    """The accuracies of one experiment's runs by subset, as plain data for JSON.

    Returns:
        ``"experiment"``, ``"modalities"``, and ``"rows"``: the method -> its title, its seeds, and
        the accuracy under each subset (its modalities joined by ``" + "``), a fraction per seed.

    Raises:
        RecipeError: A run cannot be evaluated.
    """
    kept: dict[str, Any] = {"rows": {}}
    for run in sorted(runs, key=lambda run: run.seed):
        kept |= {"experiment": run.experiment, "modalities": [*run.modalities]}
        title = str(run.result["title"])
        row = kept["rows"].setdefault(
            run.group[0].split(",")[0], {"title": title, "seeds": [], "accuracy": {}}
        )
        row["seeds"].append(run.seed)
        for subset, of in evaluate_run(run).values.items():
            row["accuracy"].setdefault(subset_title(subset), []).append(round(of.value, 5))
    return kept


def subsets_table(runs: Iterable[Run]) -> str:
    """The accuracies of runs as tables in plain text, one per experiment.

    Raises:
        RecipeError: A run cannot be evaluated, or runs of one experiment have other samples.
    """
    tables: dict[tuple[str, tuple[str, ...]], dict[str, list[Subsets]]] = {}
    for run in runs:
        methods = tables.setdefault((run.experiment, run.modalities), {})
        method = ", ".join(part for part in run.group if part)
        methods.setdefault(method, []).append(evaluate_run(run))
    texts = []
    for (experiment, _), methods in tables.items():
        title = f"{experiment}: test accuracy in % by the modalities that are there"
        try:
            texts.append(f"{title}\n{compare_subsets(methods)}")
        except DiagnosisError as error:
            raise RecipeError(f"{experiment}: {error}") from error
    return "\n\n".join(texts)
