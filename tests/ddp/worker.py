"""One of two processes that train in every set-up of the tests beside; started by conftest.py."""

import os
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy, Strategy
from torch import Tensor, nn
from torch.utils.data import DataLoader, DistributedSampler

from helpers.methods import METHODS, Method
from helpers.modules import CLASSES, Late, encoder_paths, give_validation, heads_of, make_batches
from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback
from inforeg_lightning.callbacks import MethodCallback

EPOCHS = 6
METHOD_EPOCHS = 3
INFOREG = {"beta": 0.7, "K": 0.02}
LIMIT = timedelta(seconds=60)
RANK, WORLD = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))


def make_samples(count: int, opposed: bool = False) -> list[dict[str, Tensor]]:
    """Single samples. ``opposed``: the even show their label in audio only, the odd in video."""
    (batch,) = make_batches(batches=1, size=count)
    samples = [{key: value[i] for key, value in batch.items()} for i in range(count)]
    if opposed:
        for index, sample in enumerate(samples):
            sample["video"][:CLASSES] += 3 * F.one_hot(sample["label"], CLASSES)
            sample["video" if index % 2 == 0 else "audio"].normal_(
                generator=torch.Generator().manual_seed(index)
            )
    return samples


class Sampled(Late):
    """With a loader that a Trainer splits between processes."""

    def __init__(self, samples: list[dict[str, Tensor]], size: int, sharded: bool = False) -> None:
        super().__init__(weight_decay=1e-3)
        self.samples = samples
        self.size = size
        self.sharded = sharded

    def train_dataloader(self) -> DataLoader:
        # Without shuffling, which Lightning's own sampler always does in training: two processes
        # with batches of n then see the global batches of one process with batches of 2n.
        sampler = DistributedSampler(self.samples, shuffle=False) if WORLD > 1 else None
        return DataLoader(self.samples, batch_size=self.size, sampler=sampler)

    def configure_model(self) -> None:
        if self.sharded:
            from torch.distributed.fsdp import fully_shard

            self.sharded = False  # it is called before every stage
            mesh = self.device_mesh["data_parallel"]
            for part in (self.audio_encoder, self.video_encoder, self.head, self):
                fully_shard(part, mesh=mesh)

    def on_train_epoch_end(self) -> None:
        self.epoch_weights.append(
            {n: whole(p).detach().clone() for n, p in self.named_parameters()}
        )


class SampledPerceptron(Sampled):
    """With a head that is not linear and so has to be run."""

    def make_head(self, width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, CLASSES))


class InfiniteOnOneRank(Sampled):
    """Rank 0's second loss is infinite, and its gradient is not."""

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        loss = super().training_step(batch, batch_idx)
        return loss + torch.inf if RANK == 0 and batch_idx == 1 else loss


class UnequalBatches(Sampled):
    """One batch, of which rank 0 gets three samples and rank 1 the other five."""

    def train_dataloader(self) -> DataLoader:
        part = slice(0, 3) if RANK == 0 else slice(3, 8)
        batch = {key: value[part] for key, value in make_batches()[0].items()}
        return DataLoader([batch], batch_size=None)


def whole(parameter: Tensor) -> Tensor:
    return parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter


def callback(**settings) -> InfoRegCallback:
    return InfoRegCallback(encoder_paths(), head="head", **INFOREG | settings)


def train(
    module: Late,
    method: MethodCallback,
    strategy: Strategy | str = "auto",
    devices: int = 1,
    ckpt_path: Path | None = None,
    **settings,
) -> dict:
    trainer = quiet_trainer(
        callbacks=[method],
        strategy=strategy,
        devices=devices,
        use_distributed_sampler=False,
        **{"max_epochs": EPOCHS} | settings,
    )
    give_validation(module, [method])
    trainer.fit(module, ckpt_path=ckpt_path)
    return {
        "weights": module.epoch_weights,
        "history": method.history,
        "heads": heads_of(method),
        "trainer": trainer,
    }


def ddp(module: Late, method: MethodCallback, **settings) -> dict:
    return train(module, method, DDPStrategy(timeout=LIMIT), devices=2, **settings)


def fsdp(module: Late, inforeg: InfoRegCallback, **settings) -> dict:
    strategy = ModelParallelStrategy(2, 1, timeout=LIMIT)
    return train(module, inforeg, strategy, devices=2, **settings)


def resumed(run: Callable[..., dict], make: Callable[[], Late], folder: Path, **settings) -> dict:
    """A run cut in two by a checkpoint after ``cut`` steps."""
    cut = settings.pop("cut")
    first = run(make(), callback(**settings), max_steps=cut)
    first["trainer"].save_checkpoint(folder / "cut.ckpt")
    return run(make(), callback(**settings), ckpt_path=folder / "cut.ckpt")


def anchors_of(inforeg: InfoRegCallback) -> dict[str, list[tuple[int, int]]]:
    """Of each anchor, its size on this process and on all."""
    return {
        modality: [(anchor.to_local().numel(), anchor.numel()) for anchor in anchors.values()]
        for modality, anchors in inforeg.method.anchors.items()
    }


def run_sharded_and_look(samples: list[dict[str, Tensor]]) -> dict:
    inforeg = callback(window="always")
    sizes: list[dict] = []

    class Watched(Sampled):
        def on_train_batch_end(self, *_) -> None:
            sizes.append(anchors_of(inforeg))

    result = fsdp(Watched(samples, 4, sharded=True), inforeg, max_epochs=1)
    return result | {"anchors": sizes}


def scenarios(folder: Path) -> dict[str, Callable[[], dict]]:
    even, uneven, odd = make_samples(32), make_samples(34), make_samples(33)
    opposed = make_samples(32, opposed=True)

    def sharded() -> Late:
        return Sampled(uneven, 4, sharded=True)

    return {
        "uneven": lambda: ddp(Sampled(uneven, 4), callback()),
        "padded": lambda: ddp(Sampled(odd, 4), callback()),
        "opposed": lambda: ddp(Sampled(opposed, 4), callback(window="always")),
        "accumulated": lambda: ddp(Sampled(even, 2), callback(), accumulate_grad_batches=2),
        "unequal": lambda: ddp(UnequalBatches([], 0), callback(window="always"), max_epochs=1),
        "infinite": lambda: ddp(InfiniteOnOneRank(even, 4), callback(window="always")),
        "resumed": lambda: resumed(
            ddp, lambda: Sampled(uneven, 4), folder, cut=15, window="always"
        ),
        "uninterrupted": lambda: ddp(Sampled(uneven, 4), callback(window="always")),
        "sharded": lambda: fsdp(sharded(), callback()),
        "sharded official": lambda: fsdp(
            sharded(), InfoRegCallback.official(encoder_paths(), head="head")
        ),
        "sharded perceptron": lambda: fsdp(
            SampledPerceptron(uneven, 4, sharded=True), callback(window="always")
        ),
        "sharded anchors": lambda: run_sharded_and_look(uneven),
        "sharded resumed": lambda: resumed(
            fsdp, sharded, folder / "sharded", cut=10, window="always", period=3
        ),
        "sharded uninterrupted": lambda: fsdp(sharded(), callback(window="always", period=3)),
    }


def of_method(method: Method) -> dict:
    torch.manual_seed(0)
    samples = make_samples(32, opposed=True)
    return ddp(Sampled(samples, 4), method(), max_epochs=METHOD_EPOCHS)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    results = {}
    of_methods = {str(method): partial(of_method, method) for method in METHODS}
    for name, run in (scenarios(folder) | of_methods).items():
        print(f"=== {name}", file=sys.stderr, flush=True)
        results[name] = run()
        results[name].pop("trainer")
    torch.save(results, folder / f"rank{RANK}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
