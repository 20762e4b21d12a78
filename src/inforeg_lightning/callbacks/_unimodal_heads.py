"""Makes unimodal heads a part of a LightningModule before its optimisers are configured.

``setup`` of a callback is the last hook of ours before the strategy moves and wraps the module and
has it configure its optimisers. What the module makes in its own ``setup`` or ``configure_model``,
which come later, is looked at again when these return.
"""

from collections.abc import Callable
from typing import Any

from inforeg_lightning.callbacks._framework import (
    Callback,
    LightningModule,
    Trainer,
    is_a,
    overrides,
)
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

    def add() -> None:
        engine.make_heads(module)
        engine.heads.add_to(module)

    later = next((hook for hook in ("configure_model", "setup") if overrides(module, hook)), None)
    if later is not None:
        engine.heads.waits_for(_after(module, later, add))
    try:
        add()
    except NotThere:
        if later is None:
            raise


def _after(module: LightningModule, hook: str, act: Callable[[], None]) -> Callable[[], None]:
    """Have a hook of the module act when it returns, once.

    Returns:
        Gives it up.
    """
    original, before = getattr(module, hook), vars(module).get(hook)

    def run(*args: Any, **kwargs: Any) -> None:
        give_up()
        original(*args, **kwargs)
        act()

    def give_up() -> None:
        if vars(module).get(hook) is run:
            delattr(module, hook)
            if before is not None:
                setattr(module, hook, before)

    setattr(module, hook, run)
    return give_up


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
    for other in callbacks:
        if other is callback:
            return
        if is_a(other, "WeightAveraging"):
            raise ValueError(
                f"{type(other).__name__} stands before {engine.name} in `Trainer(callbacks=...)`, "
                "and copies the module before the unimodal heads are part of it. Put it after, or "
                "pass unimodal_heads='shared'."
            )
