"""What the callback costs: time a step, memory, and the published algorithm's time for comparison.

Prints one JSON object, and a few lines for people on stderr:

    python benchmarks/overhead.py [--quick] [--batch 4] [--pairs 30] [--threads 1]
    python benchmarks/overhead.py --methods     # every method of the library instead

All times are of real Trainer steps, with and without the callback in turn; see README.md here.
"""

import argparse
import json
import logging
import sys
import time
import warnings
from collections.abc import Mapping
from typing import Any

import lightning
import torch
from torch import Tensor, nn

import inforeg_lightning.callbacks as library
from inforeg_lightning import InfoRegCallback
from inforeg_lightning.callbacks import MethodCallback
from inforeg_lightning.models import AudioResNet18, VideoResNet18
from measuring.interleave import Interleave, Joint, fit, ratios, seconds
from measuring.published import Published
from measuring.storage import extra_memory

CLASSES = 6
TOTAL_PARAMETERS = 2_000_000


def resnets() -> Joint:
    torch.manual_seed(0)
    return Joint({"audio": AudioResNet18(), "video": VideoResNet18()}, 1024, CLASSES)


def cremad_batch(size: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "audio": torch.randn(size, 1, 257, 188, generator=generator),
        "video": torch.randn(size, 3, 3, 224, 224, generator=generator),
        "label": torch.randint(CLASSES, (size,), generator=generator),
    }


def callbacks(module: Joint) -> dict[str, InfoRegCallback]:
    """One that has every encoder in the window all the time, and one that never has."""
    return {
        "inside": InfoRegCallback(module.paths(), head="head", window="always"),
        "outside": InfoRegCallback(module.paths(), head="head", window="never"),
    }


# Each acts on every modality in every step that is timed.
METHODS: dict[str, dict[str, Any]] = {
    "InfoReg": {},
    "OGM": {},
    "OGMGE": {},
    "AlternatingGreedy": {},
    "AGM": {},
    "AutoBalance": {},
    "PMR": {"period": 2},  # its prototypes are those of the period before
    "DGL": {},
    "GBlending": {"measure": "running"},  # else copies are trained apart, between epochs
    "MLB": {},
    "MMPareto": {},
    "ModalityDropout": {},
    "OPM": {"p_exe": 1.0},
    "TorchJD": {},
    "PDMP": {"performance": (0, 1), "gamma_p": 1.5, "gamma_r": 0.5},
    "RedReg": {},
    "ReLearning": {},  # acts between epochs
    "MSLR": {"rates": (0.9, 1.1)},
    "UnimodalLosses": {},
}
_WARM_UP = 3
"""Rounds that are left out: in the first two, PMR has no prototypes."""


def methods(module: Joint) -> dict[str, MethodCallback]:
    """Every method that this release has, with its defaults and an open window."""
    return {
        name: getattr(library, f"{name}Callback")(
            module.paths(), head="head", window="always", **settings
        )
        for name, settings in METHODS.items()
        if hasattr(library, f"{name}Callback")
    }


def measure_methods(batch: int, pairs: int) -> dict[str, Any]:
    """Ratios of every method's step to the joint step of its round, and memory beyond it."""
    module = resnets()
    arms = methods(module)
    say(f"{', '.join(arms)}: memory")
    memory = extra_memory(resnets, cremad_batch(2), methods(resnets()))
    say(f"steps, ResNet-18 audio + video, batch {batch}, {pairs} pairs")
    interleave = Interleave({"joint": None, **arms})
    rounds = pairs + _WARM_UP
    fit(module, cremad_batch(batch), (len(arms) + 1) * rounds, interleave)
    steps = [step for step in interleave.steps if step.round >= _WARM_UP]
    return {
        "resnet18": {
            "batch": batch,
            "ratio_to_joint": {name: ratios(steps, name, "joint") for name in arms},
            "seconds": {name: seconds(steps, name) for name in ["joint", *arms]},
        },
        "memory_bytes": memory,
    }


def resnet_steps(batch: int, pairs: int, with_published: bool) -> dict[str, Any]:
    """Ratios of the steps of ResNet-18 audio + video; round 0 warms up."""
    module, published = resnets(), Published()
    arms = callbacks(module)
    after = ("published", published.step) if with_published else None
    interleave = Interleave({"joint": None, **arms}, after, every=3)
    fit(module, cremad_batch(batch), 3 * (pairs + 1), interleave)
    steps = interleave.steps
    names = [*arms, *(["published"] if with_published else [])]
    first = next(s for s in steps if s.arm == "inside")
    result = {
        "batch": batch,
        "ratio_to_joint": {name: ratios(steps, name, "joint") for name in names},
        "seconds": {name: seconds(steps, name) for name in ["joint", *names]},
        # The first step of a period copies the anchors.
        "first_inside_hooks_wall": first.hooks_wall,
    }
    if with_published:
        # Kept for an epoch: the copy of the model and the sums. A step's clones come on top.
        result["published_megabytes"] = published.megabytes()
    return result


def mlp(parameters: int, inputs: int, outputs: int) -> nn.Module:
    """Two hidden layers as wide as the number of parameters asks for."""
    b = inputs + outputs
    width = round((-b + (b * b + 4 * parameters) ** 0.5) / 2)
    return nn.Sequential(
        nn.Linear(inputs, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
        nn.Linear(width, outputs),
    )  # fmt: skip


def many_modalities(modalities: int, pairs: int) -> dict[str, Any]:
    """Ratios of steps of ``modalities`` small encoders that have two million weights together."""
    torch.manual_seed(0)
    names = [f"m{index}" for index in range(modalities)]
    encoders = {n: mlp(TOTAL_PARAMETERS // modalities, 64, 32) for n in names}
    module = Joint(encoders, 32 * modalities, CLASSES)
    batch = {n: torch.randn(256, 64) for n in names} | {"label": torch.randint(CLASSES, (256,))}
    interleave = Interleave({"joint": None, **callbacks(module)})
    fit(module, batch, 3 * (pairs + 1), interleave)
    return {
        "parameters": sum(p.numel() for p in module.encoders.parameters()),
        "ratio_to_joint": {n: ratios(interleave.steps, n, "joint") for n in ("inside", "outside")},
        "seconds": {n: seconds(interleave.steps, n) for n in ("joint", "inside", "outside")},
    }


def spread(by_number: Mapping[str, Any], arm: str) -> float:
    """Largest over smallest median ratio (CPU time): how flat the price is in M."""
    medians = [r["ratio_to_joint"][arm]["cpu"]["median"] for r in by_number.values()]
    return max(medians) / min(medians)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    say("memory")
    memory = extra_memory(resnets, cremad_batch(2), callbacks(resnets()))
    say(f"ResNet-18 audio + video, batch {args.batch}, {args.pairs} pairs")
    result: dict[str, Any] = {"resnet18": resnet_steps(args.batch, args.pairs, True)}
    if args.large_batch:
        say(f"ResNet-18 audio + video, batch {args.large_batch}, {args.large_pairs} pairs")
        large = resnet_steps(args.large_batch, args.large_pairs, with_published=False)
        result["resnet18_large_batch"] = large
    say("2 to 16 modalities")
    modalities = {str(m): many_modalities(m, 3 * args.pairs) for m in (2, 4, 8, 16)}
    result["modalities"] = modalities
    result["modalities_spread"] = {arm: spread(modalities, arm) for arm in ("inside", "outside")}
    result["memory_bytes"] = memory
    return result


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--batch", type=int, default=4, help="of the ResNets (default 4)")
    parser.add_argument("--pairs", type=int, default=30, help="pairs of steps (default 30)")
    parser.add_argument("--large-batch", type=int, default=16, help="a few pairs at it; 0 for none")
    parser.add_argument("--large-pairs", type=int, default=2, help="how many (default 2)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default 1)")
    parser.add_argument("--methods", action="store_true", help="every method; no other part")
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it runs")
    args = parser.parse_args()
    if args.quick:
        args.batch, args.pairs, args.large_batch = 1, 3, 0
    torch.set_num_threads(args.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)

    start = time.perf_counter()
    result = measure_methods(args.batch, args.pairs) if args.methods else measure(args)
    result["settings"] = {
        **vars(args),
        "torch": torch.__version__,
        "lightning": lightning.__version__,
        "wall_seconds": time.perf_counter() - start,
    }
    print(json.dumps(result, indent=1))
    for name, ratio in result["resnet18"]["ratio_to_joint"].items():
        cpu = ratio["cpu"]
        say(f"{name}: {cpu['median']:.3f} [{cpu['q1']:.3f}, {cpu['q3']:.3f}] of a joint step (CPU)")
    for name, of in result["memory_bytes"].items():
        if isinstance(of, dict) and "kept_over_encoders" in of:
            say(
                f"{name}: keeps {of['kept_over_encoders']:.3f} copies of the encoders between steps"
            )
    if args.methods:
        return
    say(f"2 to 16 modalities, largest over smallest: {result['modalities_spread']['inside']:.3f}")


if __name__ == "__main__":
    main()
