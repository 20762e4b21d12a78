"""Measured numbers that a report on the embedded data is read against."""

from collections.abc import Collection
from pathlib import Path

from inforeg_lightning.report import read_tables

_CALIBRATION = Path(__file__).resolve().parents[1] / "results" / "av_digits_calibration.json"
_ALONE = ("Audio alone", "Image alone")


def remarks(experiments: Collection[str]) -> list[str]:
    """What one modality alone reaches on AV-Digits, where that is among the experiments.

    Without it nobody sees what joint training lost: an encoder trained alone is what the same
    encoder could be inside the joint model.
    """
    if "av_digits" not in experiments or not _CALIBRATION.exists():
        return []
    rows = {row.title: row for row in read_tables(_CALIBRATION)[0].rows}
    alone = ", ".join(f"{title.lower()} {rows[title].cells[0].value}" for title in _ALONE)
    return [
        f"For comparison, test accuracy in % of one modality trained alone by the recipe of "
        f"av_digits as it is ({rows[_ALONE[0]].seeds} seeds, "
        f"experiments/results/{_CALIBRATION.name}): {alone}."
    ]
