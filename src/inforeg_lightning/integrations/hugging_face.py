"""A balancing method in the Hugging Face ``Trainer``, as a callback of it."""

import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from inforeg_lightning.engine.regulator import Regulator

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise ImportError(f"{__name__} needs transformers: pip install transformers") from error


class RegulatorCallback(TrainerCallback):
    """Run a balancing method in the Hugging Face ``Trainer``, on what its model is called with.

    The arguments are those of :class:`~inforeg_lightning.Regulator`; ``target`` and ``present``
    are found among the arguments of ``forward``. ``regulator.history`` holds the history.
    """

    def __init__(self, encoders: Any, method: Any, head: Any = None, **settings: Any) -> None:
        self.arguments, self.settings = (encoders, method, head), {"target": "labels"} | settings
        self.regulator: Any = None
        self._hooks = ExitStack()

    def on_train_begin(self, args: Any, state: Any, control: Any, **of: Any) -> None:
        """Hang on model and optimizer, and go on from the checkpoint that the Trainer resumes."""
        self._hooks.close()  # those of a training that failed
        if args.n_gpu > 1:
            raise ValueError("the Trainer uses DataParallel on several GPUs: start it by torchrun")
        model, optimizer, path = of["model"], of["optimizer"], _path(args, state)
        self.settings["scaler"] = getattr(optimizer, "scaler", None)
        regulator = Regulator(model, optimizer, *self.arguments, **self.settings)
        if path.exists() and state.global_step:
            regulator.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        elif state.global_step:
            warnings.warn(f"there is no {path}: the history begins here", stacklevel=2)
        batch, scale = ExitStack(), 1 / args.gradient_accumulation_steps

        def begin(model: Any, args: Any, kwargs: Any) -> None:
            if model.training and torch.is_grad_enabled():
                batch.enter_context(regulator.batch(kwargs, loss_scale=scale))

        self.regulator = regulator
        self._hooks.callback(regulator.close)
        self._hooks.callback(model.register_forward_pre_hook(begin, with_kwargs=True).remove)
        self._hooks.callback(model.register_forward_hook(lambda *_: batch.close()).remove)

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **of: Any) -> None:
        """Begin an epoch."""
        self.regulator.begin_epoch(int((state.epoch or 0) + 1e-6))

    def on_epoch_end(self, args: Any, state: Any, control: Any, **of: Any) -> None:
        """End it."""
        self.regulator.end_epoch()

    def on_save(self, args: Any, state: Any, control: Any, **of: Any) -> None:
        """Save the state beside the model's."""
        saved = self.regulator.state_dict()
        if state.is_world_process_zero:
            torch.save(saved, _path(args, state))

    def on_train_end(self, args: Any, state: Any, control: Any, **of: Any) -> None:
        """Remove the hooks."""
        self._hooks.close()


def _path(args: Any, state: Any) -> Path:
    return Path(args.output_dir, f"checkpoint-{state.global_step}", "regulator.pt")
