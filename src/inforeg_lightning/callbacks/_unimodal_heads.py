"""Makes unimodal heads a part of a LightningModule before its optimisers are configured.

``setup`` of a callback is the last hook of ours before the strategy moves and wraps the module and
has it configure its optimisers. What the module makes in its own ``setup`` or ``configure_model``,
which come later, is waited for.
"""

from functools import partial
from typing import Any

from inforeg_lightning.callbacks._framework import Callback, LightningModule, Trainer, is_a
from inforeg_lightning.engine.checks import NotThere
from inforeg_lightning.engine.engine import Engine


def add_unimodal_heads(callback: Callback, engine: Engine, trainer: Trainer) -> None:
    """Make the heads of a method that trains with some, now or once the module has made its own.

    Args:
        callback: Whose engine it is.
        engine: Runs the method.
        trainer: In ``setup``.

    Raises:
        ValueError: The heads cannot be made, or would not be trained as the module is.
    """
    if not engine.adds_heads:
        return
    _check_strategy(engine, trainer)
    _check_averaging(callback, engine, trainer)
    module = trainer.lightning_module
    try:
        _add(engine, module)
    except NotThere:
        _add_after("configure_model" if _configures(module) else "setup", engine, module)


def _add(engine: Engine, module: LightningModule) -> None:
    engine.make_heads(module)
    engine.heads.add_to(module)


def _add_after(hook: str, engine: Engine, module: LightningModule) -> None:
    """Have a hook of the module add the heads when it returns, once."""
    original = getattr(module, hook)
    shadowed = hook in vars(module)

    def run(*args: Any, **kwargs: Any) -> None:
        if shadowed:
            setattr(module, hook, original)
        else:
            delattr(module, hook)
        original(*args, **kwargs)
        _add(engine, module)

    setattr(module, hook, run)
    engine.heads.waits_for(partial(_restore, module, hook, run, original if shadowed else None))


def _restore(module: LightningModule, hook: str, run: Any, original: Any) -> None:
    if vars(module).get(hook) is run:
        delattr(module, hook)
        if original is not None:
            setattr(module, hook, original)


def _configures(module: LightningModule) -> bool:
    """Whether a module has a ``configure_model`` of its own, which then makes what is missing."""
    hook = getattr(type(module), "configure_model", None)
    return hook is not None and hook.__module__.split(".")[0] not in (
        "lightning",
        "pytorch_lightning",
    )


def _check_strategy(engine: Engine, trainer: Trainer) -> None:
    if is_a(trainer.strategy, "ModelParallelStrategy"):
        raise ValueError(
            f"{engine.name} would add unimodal heads to a module that "
            f"{type(trainer.strategy).__name__} shards, which averages only what `fully_shard` "
            "wraps: each process would train heads of its own. Pass unimodal_heads='shared', or "
            "use strategy='ddp'."
        )


def _check_averaging(callback: Callback, engine: Engine, trainer: Trainer) -> None:
    """Refuse a copy of the module that is made before the heads are part of it."""
    callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
    before = callbacks[: callbacks.index(callback)]
    for other in before:
        if is_a(other, "WeightAveraging"):
            raise ValueError(
                f"{type(other).__name__} stands before {engine.name} in `Trainer(callbacks=...)`, "
                "and copies the module before the unimodal heads are part of it. Put it after, or "
                "pass unimodal_heads='shared'."
            )
