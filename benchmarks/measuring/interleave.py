"""Steps of one real Trainer, taken in turn with and without a callback, and timed one by one."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Joint(L.LightningModule):
    """The cheapest joint training there is: encoders, one linear head, one loss, no metrics."""

    def __init__(self, encoders: Mapping[str, nn.Module], width: int, classes: int) -> None:
        super().__init__()
        self.encoders = nn.ModuleDict(encoders)
        self.head = nn.Linear(width, classes)

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy of the fused logits."""
        features = [encoder(batch[name]) for name, encoder in self.encoders.items()]
        return F.cross_entropy(self.head(torch.cat(features, dim=1)), batch["label"])

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Only there because G-Blending asks for a validation; none is timed."""
        self.training_step(batch, batch_idx)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """SGD as the published code has it."""
        # A small rate: the arms share the weights, which should stay where gradients are ordinary.
        return torch.optim.SGD(self.parameters(), lr=1e-4, momentum=0.9, weight_decay=1e-4)

    def paths(self) -> dict[str, str]:
        """The argument ``encoders`` of a callback."""
        return {name: f"encoders.{name}" for name in self.encoders}


@dataclass
class Clock:
    """Seconds of the wall and of this process's CPU since the last start."""

    wall: float = 0.0
    cpu: float = 0.0

    def start(self) -> None:
        """Start both."""
        self.wall, self.cpu = time.perf_counter(), time.process_time()

    def read(self) -> tuple[float, float]:
        """Wall and CPU seconds."""
        return time.perf_counter() - self.wall, time.process_time() - self.cpu


@dataclass
class Step:
    """One timed step; ``hooks`` is the part of it spent inside the callback's hooks."""

    round: int
    arm: str
    wall: float
    cpu: float
    hooks_wall: float = 0.0
    hooks_cpu: float = 0.0


class Interleave(L.Callback):
    """Gives each step to one arm: its callback gets the hooks of that step, the others do not.

    A step lasts from before the first ``on_train_batch_start`` to after the last
    ``on_train_batch_end``: everything that a callback does in it is inside, loading data is not.
    Each round takes every arm once, in an order that rotates from round to round.

    Args:
        arms: Name -> callback, or ``None`` for training without one.
        after_round: A whole step of something else, made and timed at the end of a round.
        every: In every how many rounds.
        clock: What times a step; one that waits for a GPU there.
    """

    def __init__(
        self,
        arms: Mapping[str, L.Callback | None],
        after_round: tuple[str, Callable[[L.Trainer, Any, Any], None]] | None = None,
        every: int = 1,
        clock: Callable[[], "Clock"] | None = None,
    ) -> None:
        self.arms = dict(arms)
        self.after_round, self.every = after_round, every
        self.steps: list[Step] = []
        make_clock = clock or Clock
        self._step, self._hook = make_clock(), make_clock()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Of every arm."""
        self._all("setup", trainer, pl_module, stage)

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Of every arm."""
        self._all("on_fit_start", trainer, pl_module)

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Of every arm."""
        self._all("on_train_start", trainer, pl_module)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Of every arm."""
        self._all("on_train_epoch_start", trainer, pl_module)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Of every arm."""
        self._all("teardown", trainer, pl_module, stage)

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Choose the step's arm and start its clock."""
        turn, place = divmod(batch_idx, len(self.arms))
        arm = [*self.arms][(place + turn) % len(self.arms)]
        self.steps.append(Step(turn, arm, 0.0, 0.0))
        self._step.start()
        self._one("on_train_batch_start", trainer, pl_module, batch, batch_idx)

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Of the step's arm."""
        self._one("on_before_backward", trainer, pl_module, loss)

    def on_before_optimizer_step(
        self, trainer: L.Trainer, pl_module: L.LightningModule, optimizer: Any
    ) -> None:
        """Of the step's arm."""
        self._one("on_before_optimizer_step", trainer, pl_module, optimizer)

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Stop the clock; at the end of some rounds, make the other step."""
        self._one("on_train_batch_end", trainer, pl_module, outputs, batch, batch_idx)
        step = self.steps[-1]
        step.wall, step.cpu = self._step.read()
        is_last = (batch_idx + 1) % len(self.arms) == 0
        if self.after_round is not None and is_last and step.round % self.every == 0:
            name, make_step = self.after_round
            self._step.start()
            make_step(trainer, pl_module, batch)
            self.steps.append(Step(step.round, name, *self._step.read()))

    def _all(self, hook: str, *args: Any) -> None:
        for callback in self.arms.values():
            if callback is not None:
                getattr(callback, hook)(*args)

    def _one(self, hook: str, *args: Any) -> None:
        step = self.steps[-1]
        callback = self.arms[step.arm]
        if callback is not None:
            self._hook.start()
            getattr(callback, hook)(*args)
            wall, cpu = self._hook.read()
            step.hooks_wall += wall
            step.hooks_cpu += cpu


def fit(
    module: Joint,
    batch: Mapping[str, Tensor],
    steps: int,
    callback: L.Callback,
    accelerator: str = "cpu",
) -> None:
    """Train on one batch over and over, in an ordinary Trainer that writes nothing."""
    trainer = L.Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=1,
        logger=False,
        callbacks=[callback],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    batches, one = (torch.utils.data.DataLoader([batch] * n, batch_size=None) for n in (steps, 1))
    trainer.fit(module, batches, one)


def quartiles(values: Sequence[float]) -> dict[str, float | int]:
    """Lower quartile, median, upper quartile and number of the values."""
    at = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    low, middle, high = torch.quantile(torch.tensor(values, dtype=torch.float64), at).tolist()
    return {"q1": low, "median": middle, "q3": high, "n": len(values)}


def ratios(steps: Sequence[Step], arm: str, base: str) -> dict[str, dict[str, float | int]]:
    """Of an arm's steps to the base's in the same rounds, without round 0; wall and CPU time.

    ``hooks_*`` is the same ratio from within the arm's own steps: whole step / (step − hooks).
    It sees only what happens inside the hooks, but not the noise between two steps.
    """
    rounds = {s.round: s for s in steps if s.arm == base and s.round > 0}
    pairs = [(s, rounds[s.round]) for s in steps if s.arm == arm and s.round in rounds]
    result = {
        "wall": quartiles([s.wall / b.wall for s, b in pairs]),
        "cpu": quartiles([s.cpu / b.cpu for s, b in pairs]),
    }
    if any(s.hooks_wall for s, _ in pairs):
        result["hooks_wall"] = quartiles([s.wall / (s.wall - s.hooks_wall) for s, _ in pairs])
        result["hooks_cpu"] = quartiles([s.cpu / (s.cpu - s.hooks_cpu) for s, _ in pairs])
    return result


def seconds(steps: Sequence[Step], arm: str) -> dict[str, float]:
    """Median seconds of an arm's steps, without round 0."""
    mine = [s for s in steps if s.arm == arm and s.round > 0]
    return {
        field: quartiles([getattr(s, field) for s in mine])["median"]
        for field in ("wall", "cpu", "hooks_wall", "hooks_cpu")
    }
