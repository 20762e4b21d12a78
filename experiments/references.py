"""Measured numbers that a report on the embedded data is read against."""

import json
from collections.abc import Iterable
from pathlib import Path

_CALIBRATION = Path(__file__).parent / "results" / "av_digits_calibration.json"


def remarks(experiments: Iterable[str]) -> list[str]:
    """What one modality alone reaches on AV-Digits, where that is among the experiments.

    Without it nobody sees what joint training lost: an encoder trained alone is what the same
    encoder could be inside the joint model.
    """
    if "av_digits" not in experiments or not _CALIBRATION.exists():
        return []
    accuracies = json.loads(_CALIBRATION.read_text())["accuracies"]
    alone = []
    for name in ("audio alone", "image alone"):
        accuracy = accuracies[name]["accuracy"]
        half = (accuracy["interval_95"][1] - accuracy["interval_95"][0]) / 2
        alone.append(f"{name} {accuracy['mean']:.1f} ± {half:.1f}")
    seeds = len(accuracies["image alone"]["accuracy"]["by_seed"])
    return [
        f"For comparison, test accuracy in % of one modality trained alone by the recipe of "
        f"av_digits as it is ({seeds} seeds, experiments/results/{_CALIBRATION.name}): "
        f"{', '.join(alone)}."
    ]
