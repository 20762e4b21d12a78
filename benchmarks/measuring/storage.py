"""Bytes of tensor storage alive during training, counted from what torch's operators touch."""

import weakref
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from measuring.interleave import Interleave, Joint, fit


class StorageCounter(TorchDispatchMode):
    """Counts every storage that an operator reads or writes, until it is freed.

    Attributes:
        live: Bytes alive now.
        peak: Most bytes alive at once since ``peak`` was last set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._seen: dict[int, Any] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for leaf in tree_iter((args, kwargs, result)):
            if isinstance(leaf, Tensor):
                self._count(leaf)
        return result

    def _count(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = id(storage)
        if key in self._seen and self._seen[key]() is storage:
            return
        size = storage.nbytes()

        def freed(_: Any) -> None:
            self.live -= size
            self._seen.pop(key, None)

        self._seen[key] = weakref.ref(storage, freed)
        self.live += size
        self.peak = max(self.peak, self.live)


class _Memory(Interleave):
    """Reads the counter around the one hook that works on whole encoders, in the last step."""

    def __init__(self, callback: L.Callback | None) -> None:
        super().__init__({"it": callback})
        self.counter = StorageCounter()
        self.hook_peak = self.after_step = self.step_peak = 0

    def on_train_batch_start(self, *args: Any) -> None:
        self.counter.__enter__()
        self.counter.peak = self.counter.live
        super().on_train_batch_start(*args)

    def on_before_optimizer_step(self, *args: Any) -> None:
        counter = self.counter
        step_peak, before = counter.peak, counter.live
        counter.peak = before
        super().on_before_optimizer_step(*args)
        self.hook_peak = counter.peak - before
        counter.peak = max(counter.peak, step_peak)

    def on_train_batch_end(self, *args: Any) -> None:
        super().on_train_batch_end(*args)
        self.step_peak, self.after_step = self.counter.peak, self.counter.live
        self.counter.__exit__(None, None, None)


def extra_memory(
    make_module: Any, batch: Mapping[str, Tensor], callbacks: Mapping[str, L.Callback]
) -> dict[str, Any]:
    """Storage with each callback less storage without one, in the third of three steps.

    Args:
        make_module: Makes the module afresh.
        batch: The batch of every step.
        callbacks: Name -> callback.

    Returns:
        By name, in bytes: ``kept`` between two steps, ``peak`` of the step, ``hook``: temporaries
        of ``on_before_optimizer_step``. ``encoders`` is what one copy of all encoders takes.
    """
    runs: dict[str, _Memory] = {}
    encoders = 0
    for name, callback in {"joint": None, **callbacks}.items():
        module: Joint = make_module()
        runs[name] = _Memory(callback)
        fit(module, batch, 3, runs[name])
        encoders = sum(p.numel() * p.element_size() for p in module.encoders.parameters())
    base = runs.pop("joint")
    return {
        "encoders": encoders,
        "joint": {"kept": base.after_step, "peak": base.step_peak},
        **{
            name: {
                "kept": run.after_step - base.after_step,
                "peak": run.step_peak - base.step_peak,
                "hook": run.hook_peak,
                "kept_over_encoders": (run.after_step - base.after_step) / encoders,
            }
            for name, run in runs.items()
        },
    }
