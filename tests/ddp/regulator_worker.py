"""One of two processes that train in a bare DDP loop with a Regulator; started by conftest.py."""

import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from helpers.loops import SetUp
from helpers.modules import heads_of, snapshot

RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
SET_UPS = {
    "paper": SetUp("paper"),
    "always": SetUp("always"),
    "official": SetUp("official", epochs=7),
    "ogm": SetUp("ogm"),
    "accumulated": SetUp("always", accumulate=2),
    "clipped": SetUp("always", clip=0.3),
    "by steps": SetUp("always", period=4),
    "reported": SetUp("always", reports=True),
    "own heads": SetUp("own heads"),
    "perceptron": SetUp("always", modalities=3, linear=False),
}


def train(set_up: SetUp) -> dict[str, Any]:
    """On this process's share of each batch."""
    torch.manual_seed(0)  # what unimodal heads are drawn by
    inner = set_up.net()
    net = DistributedDataParallel(inner) if WORLD > 1 else inner
    optimizer = set_up.sgd(inner)
    regulator = set_up.regulator(net, optimizer)
    weights, validated = [], {}
    for epoch in range(set_up.epochs):
        regulator.begin_epoch(epoch)
        for index, batch in enumerate(set_up.batches(), start=1):
            mine = {key: value[RANK::WORLD] for key, value in batch.items()}
            with regulator.batch(mine):
                loss = net(**mine)["loss"]
            (loss / set_up.accumulate).backward()
            if index % set_up.accumulate == 0:
                if set_up.clip:
                    torch.nn.utils.clip_grad_norm_(net.parameters(), set_up.clip)
                optimizer.step()
                optimizer.zero_grad()
        regulator.end_epoch()
        weights.append(snapshot(inner) | heads_of(regulator))
    if not set_up.reports:
        with regulator.validation() as validated, torch.no_grad():
            for batch in set_up.batches()[:2]:
                mine = {key: value[RANK::WORLD] for key, value in batch.items()}
                with regulator.batch(mine):
                    net(**mine)
    return {"weights": weights, "history": regulator.history, "validated": dict(validated)}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    results = {name: train(set_up) for name, set_up in SET_UPS.items()}
    torch.save(results, folder / f"rank{RANK}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
