"""Training with InfoReg through a Trainer, and the same training by a plain loop."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor

from helpers.modules import Late, encoder_paths, give_validation, snapshot
from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback
from inforeg_lightning.callbacks import MethodCallback

EPOCHS = 6


def always(modalities: int = 2, **settings: Any) -> InfoRegCallback:
    """A callback whose window is always open."""
    defaults = {"encoders": encoder_paths(modalities), "head": "head", "window": "always"}
    return InfoRegCallback(**defaults | settings)


def official(modalities: int = 2) -> InfoRegCallback:
    """The published variant, with another strength per modality."""
    strength = dict(zip(encoder_paths(modalities), (0.9, 0.5, 0.1), strict=False))
    return InfoRegCallback.official(encoder_paths(modalities), head="head", strength=strength)


def inforeg(**settings: Any) -> InfoRegCallback:
    """A callback whose window opens and closes again in six epochs of ``Late``."""
    return InfoRegCallback(encoder_paths(), head="head", **{"beta": 0.7, "K": 0.02} | settings)


def fit(
    module: Late,
    callback: MethodCallback | None = None,
    *others: Any,
    compiled: Any = None,
    ckpt_path: Any = None,
    **settings: Any,
) -> dict[str, Any]:
    """Train with callbacks, or without: the weights after each epoch, and what there is to look at.

    Args:
        module: What is trained; it gets a validation if a callback cannot do without.
        callback: The one whose history is asked for; ``None`` to train without.
        others: More callbacks.
        compiled: What is handed to the Trainer instead of ``module``.
        ckpt_path: To go on from.
        settings: Of the Trainer.
    """
    callbacks = [*([] if callback is None else [callback]), *others]
    trainer = quiet_trainer(**{"callbacks": callbacks, "max_epochs": EPOCHS} | settings)
    if not is_overridden("validation_step", module):
        give_validation(module, trainer.callbacks)
    trainer.fit(module if compiled is None else compiled, ckpt_path=ckpt_path)
    history = None if callback is None else callback.history
    return {
        "module": module,
        "weights": module.epoch_weights,
        "history": history,
        "trainer": trainer,
    }


def plain_loop(
    module: Late,
    *,
    beta: float = 0.7,
    epochs: int = EPOCHS,
    autocast: Callable[[], AbstractContextManager] = nullcontext,
    clip: Callable[[list[Tensor]], None] = lambda parameters: None,
) -> list[dict[str, Tensor]]:
    """Two modalities, the window always open: pull, then clip, then step."""
    optimizer = module.configure_optimizers()
    weights = []
    for _ in range(epochs):
        anchors = snapshot(module)
        for batch in module.batches:
            with autocast():
                features = module.features(batch)
                loss = F.cross_entropy(
                    module.head(torch.cat([*features.values()], 1)), batch["label"]
                )
            optimizer.zero_grad()
            loss.backward()
            blocks = module.head.weight.split([z.shape[1] for z in features.values()], 1)
            score = {}
            for (name, z), block in zip(features.items(), blocks, strict=True):
                logits = F.linear(z.to(block.dtype), block, module.head.bias / 2).detach()
                score[name] = -F.cross_entropy(logits, batch["label"])
            strong, weak = sorted(score, key=lambda name: -float(score[name]))
            alpha = torch.exp(beta * torch.tanh(score[strong] - score[weak]))
            for name, parameter in module.named_parameters():
                if name.startswith(f"{strong}_encoder"):
                    parameter.grad += alpha * (parameter.detach() - anchors[name])
            clip([*module.parameters()])
            optimizer.step()
        weights.append(snapshot(module))
    return weights
