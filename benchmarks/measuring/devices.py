"""Steps of bare loops on any device: in any precision, compiled or not, timed and profiled."""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from inforeg_lightning import Regulator
from inforeg_lightning.engine.method import Method
from measuring.interleave import Clock, Joint, quartiles

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
COPIES = ("Memcpy DtoH",)
READS = ("aten::_local_scalar_dense", "aten::is_nonzero")
"""Names of what a profiler sees where the host waits for a device, copies from it, and reads."""


def wait(device: str) -> None:
    """Until the device has done all that it was told."""
    if device == "cuda":
        torch.cuda.synchronize()


class WaitingClock(Clock):
    """A clock that waits for the GPU before each reading."""

    def start(self) -> None:
        """Start, once nothing is under way."""
        wait("cuda")
        super().start()

    def read(self) -> tuple[float, float]:
        """Wall and CPU seconds until all was done."""
        wait("cuda")
        return super().read()


class Loop:
    """A model, its optimizer and a method, in a loop of a few lines.

    Args:
        make: What makes the model.
        method: What balances; ``None`` for joint training.
        device: ``"cpu"`` or ``"cuda"``.
        precision: Of :data:`PRECISIONS`; fp16 has a ``GradScaler``.
        backend: Of ``torch.compile`` for the encoders; ``None`` to leave them as they are.
    """

    def __init__(
        self,
        make: Callable[[], Joint],
        method: Method | None,
        device: str,
        precision: str = "fp32",
        backend: str | None = None,
    ) -> None:
        torch.manual_seed(0)
        self.model = make().to(device)
        if backend is not None:  # before the Regulator looks for them
            for name, encoder in [*self.model.encoders.items()]:
                self.model.encoders[name] = torch.compile(encoder, backend=backend)
        self.device, self.dtype = device, PRECISIONS[precision]
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=1e-4, momentum=0.9)
        scaled = self.dtype is torch.float16
        self.scaler = torch.amp.GradScaler(device) if scaled else None
        self.regulator = None
        if method is not None:
            self.regulator = Regulator(
                self.model, self.optimizer, self.model.paths(), method,
                head="head", scaler=self.scaler,
            )  # fmt: skip
            self.regulator.begin_epoch(0)

    def step(self, batch: Mapping[str, Tensor]) -> None:
        """One step of the optimizer."""
        watched = self.regulator.batch(batch["label"]) if self.regulator else nullcontext()
        with watched, torch.autocast(self.device, self.dtype, enabled=self.dtype is not None):
            loss = self.model.training_step(batch, 0)
        self.optimizer.zero_grad()
        if self.scaler is None:
            loss.backward()
            self.optimizer.step()
        else:
            self.scaler.scale(loss).backward()
            self.scaler.unscale_(self.optimizer)
            self.scaler.step(self.optimizer)
            self.scaler.update()

    def close(self) -> None:
        """Let go of the model."""
        if self.regulator is not None:
            self.regulator.close()


def prices(
    loops: Mapping[str, Loop], batch: Mapping[str, Tensor], rounds: int, warm_up: int = 3
) -> dict[str, Any]:
    """Seconds of a step of each loop, and its ratio to the first loop's step of the same round.

    Args:
        loops: Name -> loop, the one that the others are compared with first.
        batch: On their device.
        rounds: That are timed; the order rotates.
        warm_up: Rounds before.
    """
    names, seconds = [*loops], {name: [] for name in loops}
    clock = WaitingClock() if next(iter(loops.values())).device == "cuda" else Clock()
    for turn in range(warm_up + rounds):
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            clock.start()
            loops[name].step(batch)
            if turn >= warm_up:
                seconds[name].append(clock.read()[0])
    base = seconds[names[0]]
    return {
        name: {
            "seconds": quartiles(of),
            "ratio_to_joint": quartiles([x / y for x, y in zip(of, base, strict=True)]),
        }
        for name, of in seconds.items()
    }


def waits(loop: Loop, batch: Mapping[str, Tensor], steps: int) -> dict[str, float]:
    """How often per step the host waits for the device, copies from it, and reads a value."""
    for _ in range(3):  # the first finds out whose features are whose, and copies anchors
        loop.step(batch)
    wait(loop.device)
    activities = [torch.profiler.ProfilerActivity.CPU]
    if loop.device == "cuda":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(steps):
            loop.step(batch)
    seen = Counter({event.key: event.count for event in profiler.key_averages()})
    return {
        what: sum(n for key, n in seen.items() if key.startswith(names)) / steps
        for what, names in (("waits", WAITS), ("copies", COPIES), ("reads", READS))
    }


def peak_bytes(make: Callable[[], Loop], batch: Mapping[str, Tensor], steps: int) -> int | None:
    """Most bytes that a loop's steps hold on the GPU; ``None`` on the CPU."""
    loop = make()
    if loop.device != "cuda":
        return None
    torch.cuda.reset_peak_memory_stats()
    for _ in range(steps):
        loop.step(batch)
    wait("cuda")
    loop.close()
    return torch.cuda.max_memory_allocated()


def on(device: str, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A batch on a device."""
    return {name: x.to(device) for name, x in batch.items()}


def describe(device: str) -> dict[str, Any]:
    """What the numbers were measured on."""
    gpu = torch.cuda.get_device_properties(0) if device == "cuda" else None
    return {
        "device": device,
        "gpu": None if gpu is None else gpu.name,
        "gpu_bytes": None if gpu is None else gpu.total_memory,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
    }
