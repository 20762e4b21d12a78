"""How often joint and unimodal gradients conflict in the first epoch on AV-Digits, by whose heads.

MMPareto exists for encoders whose joint and unimodal gradient point away from each other. Prints
JSON: for classifiers of their own and for the columns of the joint head, per seed, how many of the
pairs of gradients have a negative cosine.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from hydra.utils import instantiate

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))

from inforeg_lightning.callbacks import MMParetoCallback
from running.compose import composed


def conflicts(seed: int, heads: str) -> tuple[int, int]:
    """Pairs of gradients in conflict, and all pairs, of one epoch of MMPareto.

    Args:
        seed: Of weights and order of batches.
        heads: As for ``unimodal_heads``.
    """
    ((cfg, _),) = composed([["experiment=av_digits", f"seed={seed}"]])
    L.seed_everything(seed, verbose=False)
    data, model = (instantiate(cfg[name], _convert_="all") for name in ("data", "model"))
    pareto = MMParetoCallback(dict(cfg.modalities), head="head", unimodal_heads=heads)
    cosines, combine = [], pareto.method.combine

    def counted(*gradients: Any) -> Any:
        edited, (cosine, weight) = combine(*gradients)
        cosines.append(float(cosine))
        return edited, (cosine, weight)

    pareto.method.combine = counted
    L.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        callbacks=[pareto],
    ).fit(model, datamodule=data)
    return sum(cosine < 0 for cosine in cosines), len(cosines)


def main() -> None:
    """Count, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5, help="how many (default 5)")
    seeds = range(parser.parse_args().seeds)
    torch.set_num_threads(1)
    found = {heads: [conflicts(seed, heads) for seed in seeds] for heads in ("own", "shared")}
    print(
        json.dumps(
            {
                heads: {"conflicts": [n for n, _ in of], "pairs": of[0][1]}
                for heads, of in found.items()
            },
            indent=1,
        )
    )


if __name__ == "__main__":
    main()
