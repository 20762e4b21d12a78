"""Trains in child processes that are killed by SIGKILL; run by test_resume_kill.py.

Arguments: a folder, then one ``name:step:hook:period`` for each child.
"""

import os
import signal
import sys
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch

from helpers.resuming import train


class Kill(L.Callback):
    """Ends its process, without a chance to write or tidy up, in a hook of a step."""

    def __init__(self, step: int, hook: str) -> None:
        self.step = step

        def die(trainer: L.Trainer, *_: Any) -> None:
            if trainer.global_step >= self.step:
                os.kill(os.getpid(), signal.SIGKILL)

        setattr(self, hook, die)


def main(folder: Path, *children: str) -> None:
    torch.set_num_threads(1)
    for child in children:
        name, step, hook, period = child.split(":")
        pid = os.fork()
        if pid == 0:
            try:
                train(
                    folder / name,
                    Kill(int(step), hook),
                    period="epoch" if period == "epoch" else int(period),
                )
            finally:
                os._exit(1)  # was not killed
        _, status = os.waitpid(pid, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"{child} was not killed, but ended with status {status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
