"""What part of a training a ModalityMonitor takes, in process CPU time.

The time inside its hooks is held against that of the whole training, epoch by epoch as it plans by
itself. A share inside one run is free of what differs between two runs of the same machine.
"""

import argparse
import json
import time
from collections.abc import Sequence
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from inforeg_lightning.diagnosis import ModalityMonitor


class Pictures(L.LightningModule):
    """Two small convolutional encoders and a linear head."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.one, self.two = _encoder(width), _encoder(width)
        self.head = nn.Linear(4 * width, 10)

    def forward(self, batch: Sequence[Tensor]) -> Tensor:
        """Logits."""
        return self.head(torch.cat([self.one(batch[0]), self.two(batch[1])], dim=1))

    def training_step(self, batch: Sequence[Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy."""
        return F.cross_entropy(self(batch), batch[2])

    def validation_step(self, batch: Sequence[Tensor], batch_idx: int) -> None:
        """Predict."""
        self(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


class Timed(ModalityMonitor):
    """A monitor that adds up the CPU time inside its hooks."""

    spent = 0.0


def timed(name: str) -> Any:
    """A hook of the monitor that adds up its time."""
    plain = getattr(ModalityMonitor, name)

    def hook(self: Timed, *args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return plain(self, *args, **kwargs)
        finally:
            Timed.spent += time.process_time() - start

    return hook


for _hook in dir(ModalityMonitor):
    if _hook.startswith("on_"):
        setattr(Timed, _hook, timed(_hook))


def measure(epochs: int, samples: int, batch: int, width: int) -> dict[str, float]:
    """Train once, and say what part of it the monitor took."""
    torch.manual_seed(0)
    torch.set_num_threads(1)

    def loader(count: int) -> DataLoader[Any]:
        x, y = torch.randn(2, count, 3, 16, 16), torch.randint(10, (count,))
        return DataLoader(TensorDataset(x[0], x[1], y), batch_size=batch)

    monitor = Timed({"one": "one", "two": "two"}, "head", target=2)
    in_forward = [0.0]
    plain = monitor.method.forward

    def forward(call: Any) -> Tensor:
        start = time.process_time()
        output = plain(call)
        in_forward[0] += time.process_time() - start
        return output

    monitor.method.forward = forward
    trainer = L.Trainer(
        max_epochs=epochs,
        callbacks=[monitor],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    start = time.process_time()
    trainer.fit(Pictures(width), loader(samples), loader(samples // 4))
    whole = time.process_time() - start
    own = Timed.spent + in_forward[0]
    steps = sum(entry["steps"] for entry in monitor.history)
    return {
        "seconds": round(whole, 2),
        "monitor_seconds": round(own, 3),
        "share": round(own / whole, 4),
        "measured_epochs": len(monitor.history),
        "watched_steps": steps,
        "steps": epochs * -(-samples // batch),
    }


def _encoder(width: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


def main() -> None:
    """Measure, and print JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--width", type=int, default=16)
    print(json.dumps(measure(**vars(parser.parse_args()))))


if __name__ == "__main__":
    main()
