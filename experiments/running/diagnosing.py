"""A diagnosis of a composed configuration, and the page that shows it."""

import shlex
import shutil
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from inforeg_lightning.data.cremad import rater_accuracies
from inforeg_lightning.diagnosis import Diagnosis, DiagnosisError, diagnose
from inforeg_lightning.report import write_report
from running.building import build_data, build_model
from running.checks import switch
from running.errors import RecipeError
from running.map.reading import of_diagnosis
from running.secrets import public_overrides

FOLDER = "diagnosis"
"""Where a diagnosis lies in the folder of its experiment."""


def run(cfg: DictConfig, command: Sequence[str]) -> Diagnosis:
    """Diagnose, print it, and write its page.

    Args:
        cfg: The composed and checked configuration.
        command: What was typed.

    Raises:
        RecipeError: The configuration does not allow a diagnosis.
    """
    if (task := cfg.model.get("task", "classes")) != "classes":
        raise RecipeError(
            f"a diagnosis compares accuracies of classes, and model.task is {task}; "
            "report_unimodal and InfoReg with window='never' measure scores of any task"
        )
    out = Path(cfg.runs, cfg.name, FOLDER)
    if switch("rerun", cfg.rerun):
        shutil.rmtree(out, ignore_errors=True)
    paths = OmegaConf.to_container(cfg.modalities, resolve=True)
    try:
        diagnosis = diagnose(
            partial(build_model, cfg),
            build_data(cfg),
            encoders=paths,
            head="head",
            max_epochs=cfg.trainer.max_epochs,
            seeds=[*cfg.seeds] if OmegaConf.is_list(cfg.seeds) else cfg.seeds,
            fraction=cfg.fraction,
            checkpoint=cfg.checkpoint,
            workers=cfg.workers,
            folder=out,
            trainer=_trainer(cfg),
            threads=cfg.threads,
            reference=_reference(cfg),
            progress=sys.stderr.isatty(),
        )
    except DiagnosisError as error:
        raise RecipeError(str(error)) from error
    print(diagnosis)
    print(of_diagnosis(diagnosis))
    shown = shlex.join([*command[:2], *public_overrides(command[2:])])
    page = write_report([], [], out / "report", shown, diagnoses={cfg.name: diagnosis})
    print(f"Page: {page.resolve()}")
    return diagnosis


def _trainer(cfg: DictConfig) -> dict[str, Any]:
    """The Trainer's arguments, without what a diagnosis gives itself."""
    given: dict[str, Any] = OmegaConf.to_container(cfg.trainer, resolve=True)  # type: ignore[assignment]
    if given.get("devices", 1) != 1:
        raise RecipeError(
            "trainer.devices must be 1: a diagnosis trains several runs side by side (workers=)"
        )
    own = ("_target_", "max_epochs", "enable_progress_bar", "enable_model_summary")
    return {name: value for name, value in given.items() if name not in own}


def _reference(cfg: DictConfig) -> dict[str, float]:
    if cfg.raters is None:
        return {}
    try:
        return rater_accuracies(Path(cfg.raters))
    except (OSError, ValueError) as error:
        raise RecipeError(f"raters: {error}") from error
