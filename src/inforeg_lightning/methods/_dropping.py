"""What methods need that drop the features of some samples: random numbers, and the dropping."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from inforeg_lightning.engine.context import HeadInputs
from inforeg_lightning.engine.distributed import Processes
from inforeg_lightning.methods._running_mean import by_sample


class Draws:
    """A stream of numbers in [0, 1) per optimiser step, from the seed that training began with.

    Every process draws the numbers of the global batch, and takes those of its own samples: sample
    i of a process is sample ``i * size + rank`` of the global batch, as ``DistributedSampler``
    deals them out. So two processes train as one does on the same global batches, and accumulated
    micro-batches as the large batch (on the CPU, whose stream does not depend on how much of it is
    drawn at once).
    """

    def __init__(self) -> None:
        self._seed: int | None = None
        self._step = 0
        self._processes = Processes()
        self._generators: dict[torch.device, torch.Generator] = {}

    def attach(self, processes: Processes) -> None:
        """Begin, or go on, to train."""
        self._processes = processes
        if self._seed is None:
            self._seed = processes.broadcast(torch.initial_seed())
        self._generators = {}

    def detach(self) -> None:
        """Let go of generators and processes, which cannot be pickled."""
        self._processes = Processes()
        self._generators = {}

    def next_step(self) -> None:
        """Begin the stream of another step."""
        self._step += 1
        self._generators = {}

    def of_step(self, device: torch.device) -> Tensor:
        """One number, the same for all processes, shape ``(1,)``."""
        return torch.rand(1, generator=self._generator(device), device=device)

    def by_sample(self, samples: int, columns: int, device: torch.device) -> Tensor:
        """Numbers for the next samples of this process, shape ``(samples, columns)``."""
        size, rank = self._processes.size, self._processes.rank
        shape = (samples * size, columns)
        return torch.rand(shape, generator=self._generator(device), device=device)[rank::size]

    def state_dict(self) -> dict[str, Any]:
        """The seed, and how many steps have begun."""
        return {"seed": self._seed, "step": self._step}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state."""
        self._seed, self._step = state["seed"], state["step"]

    def _generator(self, device: torch.device) -> torch.Generator:
        if device not in self._generators:
            assert self._seed is not None
            generator = torch.Generator(device)
            generator.manual_seed((self._seed * 1_000_003 + self._step) % 2**63)
            self._generators[device] = generator
        return self._generators[device]


def has_by_sample(inputs: HeadInputs, device: torch.device) -> Tensor:
    """Which samples have which modality, shape ``(B, M)``, bool."""
    call, samples = inputs.call, len(inputs.target)
    columns = []
    for modality in call.modalities:
        mask = inputs.present.get(modality)
        if mask is None:
            is_there = modality not in call.layout.absent
            mask = torch.full((samples,), is_there, device=device)
        columns.append(mask.to(device))
    return torch.stack(columns, dim=1)


def without_dropped(
    parts: Mapping[str, Sequence[Tensor]], dropped: Tensor, modalities: Sequence[str]
) -> dict[str, list[Tensor]]:
    """Features, zero where they are dropped.

    Args:
        parts: Modality -> its parts, whose rows are samples, or several rows are one.
        dropped: Shape ``(B, M)``, bool.
        modalities: In the order of its columns.
    """
    kept = {m: ~dropped[:, modalities.index(m)] for m in parts}
    return {
        m: [torch.where(by_sample(kept[m].to(z.device), z), z, 0.0) for z in of]
        for m, of in parts.items()
    }
