"""What a day with a GPU measures: the price of a step, compiled and in every precision, waits.

Prints one JSON object, and a few lines for people on stderr:

    python benchmarks/gpu.py > benchmarks/results/gpu.json
    python benchmarks/gpu.py --device cpu --quick       # seconds to minutes, to see that it runs

Parts: ``methods`` is the price of a Trainer step of every method, ResNet-18 audio and video, and
its peak memory in a bare loop; ``precision`` that of bare loops in fp32, bf16 and fp16 with a
scaler, ``compile`` the same with compiled encoders; ``waits`` counts with the profiler how often
per step the host waits for the device; ``training`` trains AV-MNIST (``--data`` is where it lies)
with some methods. A part that fails is told, and the others go on.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "experiments"))

from inforeg_lightning import methods as library
from inforeg_lightning.engine.method import Method
from inforeg_lightning.models import ConvEncoder
from measuring.devices import (
    PRECISIONS,
    Loop,
    WaitingClock,
    describe,
    on,
    peak_bytes,
    prices,
    waits,
)
from measuring.interleave import Interleave, Joint, fit, ratios, seconds
from overhead import CLASSES, METHODS, cremad_batch, methods, resnets, say

LOOPS = ("InfoReg", "AutoBalance", "UnimodalLosses", "DGL")
"""Methods whose bare loops are timed in every precision; the first two in a quick run."""
TRAINED = ("none", "inforeg", "inforeg_adaptive", "unimodal_losses", "auto_balance")
_WARM_UP = 3


class Setting:
    """What the parts are measured with.

    Args:
        args: Of the command line.
    """

    def __init__(self, args: argparse.Namespace) -> None:
        self.device, self.quick, self.rounds = args.device, args.quick, args.pairs
        self.backend, self.data = args.backend, args.data
        self.loops = LOOPS[:2] if args.quick else LOOPS
        self.make: Callable[[], Joint] = small if args.quick else resnets
        self.batch = small_batch(8) if args.quick else cremad_batch(args.batch)

    @property
    def accelerator(self) -> str:
        """Of a Trainer."""
        return "gpu" if self.device == "cuda" else "cpu"

    def loop(self, name: str | None, precision: str = "fp32", compiled: bool = False) -> Loop:
        """A bare loop of a method, ``None`` for joint training."""
        method = None if name is None else method_of(name)
        backend = self.backend if compiled else None
        return Loop(self.make, method, self.device, precision, backend)


def small() -> Joint:
    """Encoders that a quick run can afford."""
    torch.manual_seed(0)
    return Joint({m: ConvEncoder(1, (4, 8)) for m in ("audio", "video")}, 16, CLASSES)


def small_batch(size: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    batch = {m: torch.randn(size, 1, 16, 16, generator=generator) for m in ("audio", "video")}
    return batch | {"label": torch.randint(CLASSES, (size,), generator=generator)}


def method_of(name: str) -> Method:
    """A method with an open window, and otherwise its defaults."""
    given = {key: value for key, value in METHODS[name].items() if key != "period"}
    made: Method = getattr(library, name)(window="always", **given)
    return made


def part_methods(setting: Setting) -> dict[str, Any]:
    """Price of a Trainer step of every method, and peak memory where a bare loop can run it."""
    module = setting.make()
    arms = methods(module)
    clock = WaitingClock if setting.device == "cuda" else None
    interleave = Interleave({"joint": None, **arms}, clock=clock)
    rounds = setting.rounds + _WARM_UP
    fit(module, setting.batch, (len(arms) + 1) * rounds, interleave, setting.accelerator)
    steps = [step for step in interleave.steps if step.round >= _WARM_UP]
    batch = on(setting.device, setting.batch)
    return {
        "ratio_to_joint": {name: ratios(steps, name, "joint") for name in arms},
        "seconds": {name: seconds(steps, name) for name in ["joint", *arms]},
        "peak_bytes": {
            name or "joint": peak_bytes(lambda name=name: setting.loop(name), batch, 3)
            for name in (None, *setting.loops)
        },
    }


def part_precision(setting: Setting, compiled: bool = False) -> dict[str, Any]:
    """Price of a bare loop's step in every precision, beside joint training in the same."""
    batch, found = on(setting.device, setting.batch), {}
    for precision in PRECISIONS:
        loops = {"joint": setting.loop(None, precision, compiled)}
        loops |= {name: setting.loop(name, precision, compiled) for name in setting.loops}
        found[precision] = prices(loops, batch, setting.rounds, _WARM_UP)
        for loop in loops.values():
            loop.close()
    return found


def part_compile(setting: Setting) -> dict[str, Any]:
    """The same through ``torch.compile``."""
    found = part_precision(setting, compiled=True)
    return {"backend": setting.backend, **found}


def part_waits(setting: Setting) -> dict[str, Any]:
    """What the host waits for per step, by the profiler, of joint training and of each method."""
    batch, found = on(setting.device, setting.batch), {}
    for name in (None, *setting.loops):
        for precision in ("fp32", "fp16"):
            loop = setting.loop(name, precision)
            found[f"{name or 'joint'}, {precision}"] = waits(loop, batch, 5)
            loop.close()
    return found


def part_training(setting: Setting) -> dict[str, Any]:
    """Test accuracy and seconds of a training of AV-MNIST; of random tensors in a quick run."""
    from running.compose import composed, place_of
    from running.training import run

    overrides = [f"trainer.accelerator={setting.accelerator}"]
    if setting.quick:
        overrides += ["experiment=synthetic", "trainer.max_epochs=1"]
    else:
        overrides += ["experiment=av_mnist", f"data.root={setting.data}"]
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as runs:
        jobs = [[*overrides, f"callbacks={name}", f"runs={runs}"] for name in TRAINED]
        for name, (cfg, hydra) in zip(TRAINED, composed(jobs), strict=True):
            result = run(cfg, place_of(cfg, hydra), [])
            found[name] = {
                "seconds": result["seconds"]["fit"],
                "epochs": result["epochs"],
                "accuracy": result["last"]["test"]["accuracy"],
            }
            say(f"{name}: {found[name]['seconds']} s")
    return found


PARTS: Mapping[str, Callable[[Setting], dict[str, Any]]] = {
    "methods": part_methods,
    "precision": part_precision,
    "compile": part_compile,
    "waits": part_waits,
    "training": part_training,
}


def measure(setting: Setting, parts: Mapping[str, Callable[[Setting], Any]]) -> dict[str, Any]:
    """Each part, or the error that it ended in."""
    found: dict[str, Any] = {}
    for name, part in parts.items():
        say(f"{name} …")
        begun = time.perf_counter()
        try:
            found[name] = part(setting)
        except Exception as error:  # a day with a GPU is not lost to one part
            traceback.print_exc()
            found[name] = {"failed": f"{type(error).__name__}: {error}"}
        found[name]["wall_seconds"] = round(time.perf_counter() - begun, 1)
    return found


def main() -> int:
    """Measure, and print; 1 where a part failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--batch", type=int, default=64, help="of the ResNets (default 64)")
    parser.add_argument("--pairs", type=int, default=30, help="pairs of steps (default 30)")
    parser.add_argument("--backend", default="inductor", help="of torch.compile")
    parser.add_argument("--data", default="data/av_mnist", help="where AV-MNIST lies")
    parser.add_argument("--parts", nargs="+", choices=[*PARTS], default=[*PARTS])
    parser.add_argument("--quick", action="store_true", help="tiny, to see that it runs")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        parser.error("there is no GPU here that torch can use; --device cpu --quick tries it out")
    if args.quick:
        args.pairs = 1
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", ".*does not have many workers.*")
    warnings.filterwarnings("ignore", ".*LeafSpec.*", FutureWarning)
    found = measure(Setting(args), {name: PARTS[name] for name in args.parts})
    found["settings"] = {**vars(args), **describe(args.device), "lightning": lightning.__version__}
    print(json.dumps(found, indent=1))
    return int(any("failed" in of for of in found.values()))


if __name__ == "__main__":
    sys.exit(main())
