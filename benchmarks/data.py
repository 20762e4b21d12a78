"""How fast training samples are made: from a prepared store, and as the published loader does.

Prints one JSON object, and a few lines for people on stderr:

    python benchmarks/data.py [--quick] [--clips 384] [--rounds 12] [--threads 1]

Everything is measured on the same generated clips, in turn, within one run; see README.md here.
"""

import argparse
import json
import logging
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.profilers import SimpleProfiler
from torch import Tensor
from torch.utils.data import DataLoader

from inforeg_lightning.data import CREMADDataModule
from inforeg_lightning.models import AudioResNet18, LateFusionClassifier, VideoResNet18
from measuring.clips import write_clips
from measuring.interleave import quartiles
from measuring.loader_process import handed_over, memory
from measuring.published_loader import PublishedLoader, write_jpegs

Batch = Mapping[str, Tensor]
Epoch = Callable[[int], Iterator[Batch]]

# With -c there is no main file that the worker processes would import, and this one is slow to.
PREPARE = """
import sys, time
from inforeg_lightning.data.cremad import CREMADRecipe
from inforeg_lightning.data.prepare import prepare
root, store, lists, workers, frame_format = sys.argv[1:]
lists = [f"{lists}/{half}.csv" for half in ("train", "test")]
begun = []
watch = lambda progress: begun.append(time.monotonic())
recipe = CREMADRecipe(frame_format=frame_format)
prepare(recipe, root, store, *lists, workers=int(workers), watch=watch)
# The first is told before the processes start.
print(time.monotonic() - begun[1], begun[1] - begun[0])
"""

# What the epoch's clips are made into, by whom; "device" is what is left after the bytes.
LOADERS = ("published", "float_raw", "float_jpeg", "bytes_raw", "bytes_jpeg")
TARGETS = {"float_raw": 4.0, "bytes_raw": 20.0}


def prepare(root: Path, store: Path, workers: int, frame_format: str = "raw") -> list[float]:
    """Seconds from the first clip begun to the finished store; and until that first clip."""
    arguments = [str(root), str(store), str(root), str(workers), frame_format]
    command = [sys.executable, "-c", PREPARE, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return [float(seconds) for seconds in done.stdout.split()]


def preparation(root: Path, folder: Path, clips: int, repeats: int) -> dict[str, Any]:
    """Clips a second by number of workers, in turn; leaves the stores ``raw`` and ``jpeg``."""
    rates: dict[str, list[float]] = {"1": [], "2": []}
    starts = []
    for repeat in range(repeats):
        for workers, found in rates.items():
            store = folder / f"{workers}_{repeat}"
            seconds, start = prepare(root, store, int(workers))
            found.append(clips / seconds)
            starts.append(start)
            if (folder / "raw").exists():
                shutil.rmtree(store)
            else:
                store.rename(folder / "raw")
    prepare(root, folder / "jpeg", 2, "jpeg")
    return {
        "clips": clips,
        "clips_per_second": {workers: quartiles(found) for workers, found in rates.items()},
        "seconds_to_start": quartiles(starts)["median"],
        "bytes_a_frame_jpeg_256": (folder / "jpeg" / "frames.bin").stat().st_size // (clips * 8),
    }


def data_module(store: Path, crop_on: str, batch: int, workers: int = 0) -> CREMADDataModule:
    module = CREMADDataModule(store, batch_size=batch, num_workers=workers, crop_on=crop_on)
    module.setup()
    return module


def loaders(root: Path, folder: Path, names: list[str], batch: int) -> dict[str, Epoch]:
    """Everything that makes training samples: number of the epoch -> its batches."""

    def from_store(loader: DataLoader[Batch], epoch: int) -> Iterator[Batch]:
        loader.sampler.set_epoch(epoch)
        return iter(loader)

    published = PublishedLoader(root, folder / "frames", names)
    old = DataLoader(published, batch_size=batch, shuffle=True)
    epochs: dict[str, Epoch] = {"published": lambda epoch: iter(old)}
    for name in LOADERS[1:]:
        what, frame_format = name.split("_")
        crop_on = "loader" if what == "float" else "device"
        module = data_module(folder / frame_format, crop_on, batch)
        epochs[name] = partial(from_store, module.train_dataloader())
    return epochs


def speed(epochs: Mapping[str, Epoch], module: CREMADDataModule, rounds: int) -> dict[str, Any]:
    """Samples a CPU-second of each, and their ratios to the published loader's, round by round."""
    rates: dict[str, list[float]] = {name: [] for name in [*LOADERS, "device"]}
    for number in range(rounds + 1):
        turn = number % len(LOADERS)
        for name in LOADERS[turn:] + LOADERS[:turn]:
            # An epoch of fetching alone is too short to time.
            repeats = 12 if name == "bytes_raw" else 1
            rates[name].append(epoch_rate(epochs[name], number, repeats))
        rates["device"].append(device_rate(module, epochs["bytes_raw"](number)))
    base = rates["published"][1:]
    ratios = {
        name: quartiles([mine / other for mine, other in zip(found[1:], base, strict=True)])
        for name, found in rates.items()
    }
    for name, target in TARGETS.items():
        ratios[name] |= {"target": target, "reached": ratios[name]["median"] >= target}
    return {
        "samples_per_cpu_second": {name: quartiles(found[1:]) for name, found in rates.items()},
        "ratio_to_published": ratios,
    }


def epoch_rate(epoch: Epoch, number: int, repeats: int) -> float:
    samples, start = 0, time.process_time()
    for _ in range(repeats):
        for batch in epoch(number):
            samples += len(batch["label"])
    return samples / (time.process_time() - start)


def device_rate(module: CREMADDataModule, batches: Iterator[Batch]) -> float:
    """What is left to the device, made by this CPU: crops, flips, normalisation, float32."""
    samples, seconds = 0, 0.0
    for batch in batches:
        start = time.process_time()
        module.on_after_batch_transfer(batch, 0)
        seconds += time.process_time() - start
        samples += len(batch["label"])
    return samples / seconds


def sound_difference(root: Path, folder: Path) -> float:
    """Largest difference below 7.8 kHz between a clip's spectrogram here and there: float16's.

    Above the 8 kHz that a file holds there is the logarithm of rounding errors.
    """
    store = data_module(folder / "raw", "device", 1).train_dataloader().dataset.store
    published = PublishedLoader(root, folder / "frames", [])
    found = torch.from_numpy(published.sound(str(store.names[0])))
    return float((found - torch.from_numpy(store.audio(0)).float()).abs()[:181].max())


def through_a_process(root: Path, folder: Path, names: list[str], batch: int, rounds: int) -> Any:
    """As ``speed``, with batches handed over by a loader process."""
    published = PublishedLoader(root, folder / "frames", names)
    kept = {"batch_size": batch, "num_workers": 1, "persistent_workers": True}
    found = {"published": DataLoader(published, shuffle=True, **kept)}
    for name, crop_on in (("float_raw", "loader"), ("bytes_raw", "device")):
        found[name] = data_module(folder / "raw", crop_on, batch, workers=1).train_dataloader()
    return handed_over(found, "published", rounds, {"bytes_raw": 6})


def waiting(store: Path, batches: int) -> dict[str, Any]:
    """How long a Trainer waits for the loader, by Lightning's own profiler; ResNet-18, batch 8."""
    torch.manual_seed(0)
    profiler = SimpleProfiler()
    trainer = L.Trainer(
        accelerator="cpu", devices=1, max_epochs=1, limit_train_batches=batches,
        limit_val_batches=0, profiler=profiler, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    model = LateFusionClassifier({"audio": AudioResNet18(), "video": VideoResNet18()}, 6)
    trainer.fit(model, CREMADDataModule(store, batch_size=8, num_workers=1))
    durations = profiler.recorded_durations
    waits = durations["[_TrainingEpochLoop].train_dataloader_next"]
    total = sum(durations["run_training_epoch"])
    moved = sum(sum(d) for name, d in durations.items() if name.endswith("batch_to_device"))
    return {
        "batches": batches,
        "seconds": total,
        "share_waiting": sum(waits) / total,
        # The first batch has to wait for the worker process to start.
        "share_waiting_after_first": sum(waits[1:]) / (total - waits[0]),
        "share_device_part": moved / total,
    }


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    say(f"{args.clips} clips of 480 × 360, 2.5 s")
    root = folder / "raw_tree"
    names = write_clips(root, args.clips, min(args.clips, args.different), args.detail)
    say("preparation with 1 and 2 workers")
    result: dict[str, Any] = {"preparation": preparation(root, folder, args.clips, args.repeats)}
    jpeg_bytes = write_jpegs(root, names, folder / "frames")
    epochs = loaders(root, folder, names, args.batch)
    module = data_module(folder / "raw", "device", args.batch)
    say(f"loaders, {args.rounds} rounds")
    result["speed"] = speed(epochs, module, args.rounds) | {
        "published_bytes_a_jpeg": jpeg_bytes,
        "published_ms_a_sample": PublishedLoader(root, folder / "frames", names[:64]).parts(),
        "sound_largest_difference": sound_difference(root, folder),
    }
    del epochs
    say("batches through a loader process")
    parts = (root, folder, names, args.batch, args.rounds)
    result["speed"]["through_a_process"] = through_a_process(*parts)
    say("memory of a loader process")
    result["memory_bytes"] = {
        f"{crop_on}_{size}": memory(
            data_module(folder / "raw", crop_on, size, workers=1).train_dataloader(), args.passes
        )
        for crop_on in ("device", "loader")
        for size in (args.batch, 8, 4)
    }
    say("share of a fit that waits")
    result["fit"] = waiting(folder / "raw", args.batches)
    return result


def tell(result: Mapping[str, Any]) -> None:
    speeds = result["speed"]
    for name, ratio in speeds["ratio_to_published"].items():
        rate = speeds["samples_per_cpu_second"][name]["median"]
        quarters = f"[{ratio['q1']:.2f}, {ratio['q3']:.2f}]"
        say(
            f"{name}: {rate:.0f} samples a CPU-second, {ratio['median']:.2f} {quarters} × published"
        )
    for name, ratio in speeds["through_a_process"]["ratio_to_published"].items():
        say(f"{name} through a loader process: {ratio['median']:.2f} × published")
    for workers, rate in result["preparation"]["clips_per_second"].items():
        say(f"preparation, {workers} workers: {rate['median']:.0f} clips/s")
    for on, used in result["memory_bytes"].items():
        if used["growth"] is not None:
            say(f"memory, {on}: {100 * used['growth']:+.1f} % from epoch 1 to 3")
    say(f"fit: {100 * result['fit']['share_waiting']:.2f} % of the time waiting for the loader")


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clips", type=int, default=384, help="raw clips (default 384)")
    parser.add_argument("--different", type=int, default=96, help="the rest are copies (96)")
    parser.add_argument("--detail", type=float, default=1.0, help="fine structure of frames (1)")
    parser.add_argument("--batch", type=int, default=64, help="of the loaders (default 64)")
    parser.add_argument("--rounds", type=int, default=12, help="of the loaders (default 12)")
    parser.add_argument("--repeats", type=int, default=2, help="of the preparation (default 2)")
    parser.add_argument("--passes", type=int, default=10, help="over the clips, an epoch (10)")
    parser.add_argument("--batches", type=int, default=8, help="of the fit (default 8)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default 1)")
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it runs")
    args = parser.parse_args()
    if args.quick:
        args.clips, args.different, args.rounds, args.repeats = 24, 6, 2, 1
        args.passes, args.batches = 2, 2
    torch.set_num_threads(args.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)

    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(args, Path(folder))
    wall = time.perf_counter() - start
    result["settings"] = {**vars(args), "torch": torch.__version__, "wall_seconds": wall}
    print(json.dumps(result, indent=1))
    tell(result)


if __name__ == "__main__":
    main()
