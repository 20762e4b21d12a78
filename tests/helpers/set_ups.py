"""Training with InfoReg in the set-ups that users have, and what its scores should be."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.regulated import always as always
from helpers.trainers import quiet_trainer


def fit(module: Any, callback: Any = None, ckpt_path: Any = None, **settings: Any) -> Any:
    """Train for two epochs; return the Trainer."""
    callbacks = [] if callback is None else [callback]
    trainer = quiet_trainer(**{"callbacks": callbacks, "max_epochs": 2} | settings)
    trainer.fit(module, ckpt_path=ckpt_path)
    return trainer


def linear_share(head: nn.Linear, z: Tensor, first: int, modalities: int) -> Tensor:
    """The logits of the columns of a linear head that begin at ``first``, in float64."""
    weight = head.weight.detach().double()[:, first : first + z.shape[-1]]
    return z.detach().double() @ weight.T + head.bias.detach().double() / modalities


def log_p(logits: Tensor, label: Tensor, among: Tensor | None = None) -> float:
    """The mean log-probability of the true class, of all samples or some."""
    if among is not None:
        logits, label = logits[among], label[among]
    return -float(F.cross_entropy(logits.detach().double(), label))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def numbers_of(history: Sequence[Mapping[str, Any]]) -> list[float]:
    """All numbers of a history, without what is not defined."""
    return [
        float(value)
        for entry in history
        for of in entry.values()
        for value in (of.values() if isinstance(of, dict) else [of])
        if value is not None
    ]


def is_finite(history: Sequence[Mapping[str, Any]]) -> bool:
    return bool(torch.tensor(numbers_of(history)).isfinite().all())


@contextmanager
def lines_said() -> Iterator[list[str]]:
    """What the callback says meanwhile by ``rank_zero_info``."""
    lines: list[str] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.getMessage().startswith("InfoRegCallback: "):
                lines.append(record.getMessage())

    loggers = [
        logging.getLogger(name)
        for name in (
            "lightning.pytorch.utilities.rank_zero",
            "lightning.fabric.utilities.rank_zero",
        )
    ]
    listener, levels = Listener(), [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(listener)
        logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(listener)
            logger.setLevel(level)
