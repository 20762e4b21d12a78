"""Show that AV-Digits starves its image encoder under joint training: the baseline, nothing else.

``python experiments/calibrate_av_digits.py`` trains, with five seeds, the audio network alone, the
image network alone and the joint network, by the recipe of the demo, and writes
``experiments/results/av_digits_calibration.json``. The difficulty of AV-Digits was fixed by these
numbers alone; regulation plays no part here.
"""

import argparse
import json
import logging
import os
import statistics
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

# Before torch: each worker has one core to itself.
os.environ["OMP_NUM_THREADS"] = "1"

import lightning.pytorch as L
import torch
from scipy.stats import t as student_t

from inforeg_lightning.data import AVDigitsDataModule
from inforeg_lightning.models import ConvEncoder, LateFusionClassifier

RECIPE: dict[str, Any] = {
    "max_epochs": 20,
    "batch_size": 64,
    "optimizer": {
        "lr": 0.02,
        "momentum": 0.9,
        "weight_decay": 1e-4,
        "step_size": 15,
        "gamma": 0.1,
        "warmup_epochs": 0,
    },
    "encoders": {
        "audio": {"in_channels": 1, "widths": (16, 32, 64), "pool": False},
        "image": {"in_channels": 1, "widths": (8, 32, 64), "pool": True},
    },
}
"""How AV-Digits is trained, joint or alone; ``conf/experiment/av_digits.yaml`` says the same."""

NETWORKS = {"audio alone": ("audio",), "image alone": ("image",), "joint": ("audio", "image")}
RESULT = Path(__file__).parent / "results" / "av_digits_calibration.json"


def train_one(network: str, seed: int, root: str | None) -> dict[str, Any]:
    """Train one network with one seed and test it after the last epoch.

    Args:
        network: A key of ``NETWORKS``.
        seed: Seed of the initialisation and of the order of batches.
        root: Cache folder of AV-Digits, ``None`` for the default.

    Returns:
        ``network``, ``seed``, ``seconds`` of training, and the test metrics in per cent.
    """
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    L.seed_everything(seed, verbose=False)
    data = AVDigitsDataModule(root, batch_size=RECIPE["batch_size"], seed=seed)
    encoders = {name: ConvEncoder(**RECIPE["encoders"][name]) for name in NETWORKS[network]}
    model = LateFusionClassifier(encoders, data.num_classes, **RECIPE["optimizer"])
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=RECIPE["max_epochs"],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    start = time.perf_counter()
    trainer.fit(model, datamodule=data)
    seconds = time.perf_counter() - start
    (metrics,) = trainer.test(model, datamodule=data, verbose=False)
    accuracies = {
        name.removeprefix("test/"): 100 * value
        for name, value in metrics.items()
        if "accuracy" in name
    }
    return {"network": network, "seed": seed, "seconds": round(seconds, 1), **accuracies}


def summarise(values: list[float]) -> dict[str, Any]:
    """Mean, deviation and 95 % t interval of the mean over seeds, in the values' unit."""
    mean, deviation = statistics.fmean(values), statistics.stdev(values)
    half = float(student_t.ppf(0.975, len(values) - 1)) * deviation / len(values) ** 0.5
    return {
        "mean": round(mean, 2),
        "deviation": round(deviation, 2),
        "interval_95": [round(mean - half, 2), round(mean + half, 2)],
        "by_seed": [round(value, 2) for value in values],
    }


def fold(runs: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Summaries of every accuracy of every network, its seeds in ascending order."""
    folded: dict[str, dict[str, Any]] = {}
    for network in NETWORKS:
        of_network = sorted((r for r in runs if r["network"] == network), key=lambda r: r["seed"])
        folded[network] = {
            name: summarise([run[name] for run in of_network])
            for name in of_network[0]
            if name.startswith("accuracy")
        }
    return folded


def table(folded: dict[str, dict[str, Any]]) -> str:
    """The summaries as a Markdown table."""
    lines = ["| network | measured | mean | deviation | 95 % interval |", "|---|---|---|---|---|"]
    for network, accuracies in folded.items():
        for name, value in accuracies.items():
            of = name.removeprefix("accuracy").lstrip("_")
            measured = f"{of} part of the head" if of else "prediction"
            low, high = value["interval_95"]
            lines.append(
                f"| {network} | {measured} | {value['mean']:.1f} | {value['deviation']:.1f} "
                f"| {low:.1f} to {high:.1f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Train all, print the table, write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="train with seeds 0 to SEEDS - 1")
    parser.add_argument("--workers", type=int, default=2, help="networks trained at once")
    parser.add_argument("--root", default=None, help="cache folder of AV-Digits")
    parser.add_argument("--output", type=Path, default=RESULT, help="the JSON file")
    arguments = parser.parse_args()
    if arguments.seeds < 2:
        parser.error(f"--seeds must be at least 2 for an interval, got {arguments.seeds}")

    data = AVDigitsDataModule(arguments.root)
    data.prepare_data()
    with ProcessPoolExecutor(arguments.workers, mp_context=get_context("spawn")) as pool:
        # The longest first, so that no core waits for the last.
        jobs = [
            pool.submit(train_one, network, seed, arguments.root)
            for network in reversed(NETWORKS)
            for seed in range(arguments.seeds)
        ]
        runs = []
        for job in jobs:
            runs.append(job.result())
            print(runs[-1], flush=True)
    folded = fold(runs)
    print(table(folded))
    result = {
        "command": f"python experiments/calibrate_av_digits.py --seeds {arguments.seeds}",
        "machine": "2-core x86-64 CPU, one thread a run",
        "data": data.path.stem,
        "unit": "per cent of the test split, after the last epoch",
        "recipe": RECIPE,
        "accuracies": folded,
        "seconds_a_run": {
            network: summarise([r["seconds"] for r in runs if r["network"] == network])["mean"]
            for network in NETWORKS
        },
    }
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
