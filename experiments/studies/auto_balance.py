"""AutoBalance beside joint training, unimodal losses and DGL; its protocol is in evidence/."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from running.study import Results, Study

if TYPE_CHECKING:
    from inforeg_lightning.report import Run


def keep(seeds: Sequence[int], results: Results) -> dict[str, Any]:
    """What is kept of it in ``results/auto_balance.json``: per row and seed all test accuracies."""
    rows: dict[str, dict[str, Any]] = {}
    for job, run in results.items():
        row = rows.setdefault(str(run.result["method"]), {"title": run.result["title"]})
        row.setdefault("test", {})[str(job.seed)] = _tested(run)
    return {"rows": rows}


def _tested(run: "Run") -> dict[str, float]:
    each = (f"{of}_{modality}" for of in ("accuracy", "probe") for modality in run.modalities)
    found = {quantity: run.value("last", quantity) for quantity in ("accuracy", *each)}
    return {quantity: round(value, 5) for quantity, value in found.items() if value is not None}


STUDY = Study(
    "AutoBalance beside joint training, unimodal losses (joint*) and DGL",
    methods=("none", "auto_balance", "unimodal_losses", "dgl"),
    seeds=tuple(range(10)),
    keep=keep,
)
