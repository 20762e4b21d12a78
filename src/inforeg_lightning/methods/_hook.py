"""A forward hook of a method, which a copied or pickled module forgets."""

from collections.abc import Callable
from typing import Any
from weakref import WeakMethod

import torch
from torch import nn

See = Callable[[str, nn.Module, Any, Any, Any], Any]
"""``(key, module, args, kwargs, output)`` -> the output to go on with, ``None`` to leave it."""


class Hook:
    """Calls a bound method at each call of a module, and keeps neither it nor its owner alive.

    To be registered by ``register_forward_hook(hook, with_kwargs=True)``.

    Args:
        see: The bound method.
        key: What it is called with, to tell modules apart.
    """

    def __init__(self, see: See | None, key: str) -> None:
        self.see = None if see is None else WeakMethod(see)
        self.key = key

    # Traced into a compiled module, it would be called for the first batch only.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def __call__(self, module: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        see = None if self.see is None else self.see()
        return None if see is None else see(self.key, module, args, kwargs, output)

    def __deepcopy__(self, memo: Any) -> "Hook":
        return Hook(None, self.key)

    def __reduce__(self) -> tuple[Any, ...]:
        return Hook, (None, self.key)
