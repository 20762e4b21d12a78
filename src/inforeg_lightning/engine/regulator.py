"""A method in any loop of PyTorch: the one entry outside Lightning."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer
from torch.utils.hooks import RemovableHandle

from inforeg_lightning.engine.checks import check_optimizers
from inforeg_lightning.engine.context import Scales
from inforeg_lightning.engine.distributed import find_processes
from inforeg_lightning.engine.engine import Engine
from inforeg_lightning.engine.method import Method
from inforeg_lightning.engine.probe.target import Present, Target, find_present, find_target
from inforeg_lightning.engine.summary import (
    describe_end,
    describe_start,
    history_frame,
    plot_history,
    warn_of_idle_window,
)


class Regulator:
    """Run a balancing method in a loop of your own.

    Gradients are edited as the optimizer steps, by a hook of its own: after accumulation, averaging
    over processes, unscaling by a ``GradScaler`` and clipping. (In Lightning the edit comes *before*
    clipping.) Where ``torch.distributed`` is initialised, scores are those of all processes.

    Args:
        model: What the paths lead into; a wrapped model (``DistributedDataParallel``, Fabric,
            ``torch.compile``) or the one inside it.
        optimizer: The one, or several, that train it; a wrapped one (Fabric, Accelerate) too. Not
            LBFGS, which makes its gradients inside its step.
        encoders: Modality -> attribute path, or several, of its encoder in the model.
        method: One of :mod:`inforeg_lightning.methods`.
        head: Attribute path of the fusion head; ``None`` if the training step reports its logits.
        target: Where the target stands in what :meth:`batch` is given, if that is no tensor: a key,
            an index, an attribute or a callable.
        period: ``"epoch"`` or a number of optimizer steps: what windows and ``history`` count in.
        present: Where it stands which samples have which modality, as ``target``.
        ignore_index: The target that counts nowhere.
        scaler: The ``torch.amp.GradScaler`` of the loop, which methods that add to the loss need.
        planned_epochs: How many there will be, to say at the start if none can be regulated.

    Raises:
        ValueError: An argument is out of range, or a path leads nowhere.
        TypeError: An argument is of another kind than described.

    Example::

        regulator = Regulator(model, optimizer, {"audio": "a", "video": "v"}, InfoReg(), head="head")
        for epoch in range(50):
            regulator.begin_epoch(epoch)
            for batch in loader:
                with regulator.batch(batch["label"]):
                    loss = F.cross_entropy(model(batch), batch["label"])
                loss.backward(); optimizer.step(); optimizer.zero_grad()
            regulator.end_epoch()
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer | Sequence[Optimizer],
        encoders: Mapping[str, str | Sequence[str]],
        method: Method,
        head: str | None = None,
        *,
        target: Target = None,
        period: int | str = "epoch",
        present: Present = None,
        ignore_index: float = -100,
        scaler: Any = None,
        planned_epochs: int | None = None,
    ) -> None:
        if not isinstance(method, Method):
            raise TypeError(
                "`method` must be one of inforeg_lightning.methods, for example InfoReg(), but is "
                f"of type {type(method).__name__}"
            )
        self.model = _unwrapped(model)
        self.optimizers = [_inner(o) for o in _listed(optimizer)]
        self.target, self.present, self.scaler = target, present, scaler
        name = f"Regulator({type(method).__name__})"
        self.engine = Engine(method, encoders, head, ignore_index, period, name)
        self._handles: list[RemovableHandle] = []
        self._epoch: int | None = None
        self._steps = 0
        self._planned_epochs = planned_epochs
        check_optimizers(self.optimizers, has_scaler=False)
        for inner in self.optimizers:
            if isinstance(inner, LBFGS):
                raise ValueError(
                    "`optimizer` is LBFGS, which makes its gradients inside its own step, where no "
                    "hook sees them. Use another optimizer, or the Lightning callback."
                )
        method.check(self.model, self.optimizers)
        self.engine.find(self.model)
        for inner in self.optimizers:
            self._handles.append(inner.register_step_pre_hook(self._before_step))
            self._handles.append(inner.register_step_post_hook(self._after_step))

    @property
    def history(self) -> list[dict[str, Any]]:
        """One plain dict per period that has ended; see the method's callback."""
        self._close_step()
        return self.engine.tracker.history

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch, counted from 0; go on with the one that a checkpoint was saved in."""
        self._close_step()
        changed = self.engine.find(self.model)
        if changed or not self.engine.is_attached:
            self.engine.attach(find_processes(), self.optimizers, self)
            if self._planned_epochs is not None and self.engine.period == "epoch":
                warn_of_idle_window(self.engine, self._planned_epochs)
        sums = self.engine.tracker.sums
        if self.engine.period == "epoch" and sums is not None and sums.epoch != epoch:
            self.end_epoch()
        self._epoch = epoch

    @contextmanager
    def batch(
        self,
        batch: Any,
        present: Mapping[str, Tensor] | None = None,
        loss_scale: float = 1.0,
    ) -> Iterator[None]:
        """Watch the forward pass of a (micro-)batch; call ``backward`` after it.

        Args:
            batch: The target, a tensor; or the batch, in which ``target=`` finds it.
            present: Modality -> which samples have it, shape ``(B,)``, bool; by default what
                ``present=`` of the constructor finds in the batch.
            loss_scale: What the loop multiplies this loss by before its backward pass, one over the
                number of accumulated batches, say. Methods that add to the loss need it.

        Raises:
            ValueError: The target is not found, or there are no unimodal logits.
            RuntimeError: No epoch has begun.
        """
        target = batch if isinstance(batch, Tensor) else find_target(batch, self.target)
        if present is None and not isinstance(batch, Tensor):
            present = find_present(batch, self.present, self.engine.modalities)
        if self.engine.validation.is_open:
            self.engine.validation.begin_batch(self.engine.probe, target, present or {})
            yield
            self.engine.validation.end_batch()
            return
        if self._epoch is None:
            raise RuntimeError("call begin_epoch(epoch) before the first batch of an epoch")
        self._close_step()
        self.engine.begin_batch(target, present or {}, self._scales(loss_scale), self._epoch)
        yield
        self.engine.before_backward()

    @contextmanager
    def validation(self) -> Iterator[dict[str, float]]:
        """Validate inside: batches are scored, nothing is edited.

        Yields:
            A dict that holds modality -> score over all samples once the block has ended.
        """
        self._close_step()
        scores: dict[str, float] = {}
        if not self.engine.is_attached:
            raise RuntimeError("call begin_epoch(epoch) before the first validation")
        self.engine.validation.begin()
        yield scores
        scores |= self.engine.validation.end(self.engine.processes)

    def end_epoch(self) -> None:
        """End the epoch: trace, relative change, history."""
        self._close_step()
        self.engine.method.end_epoch()
        if self.engine.period == "epoch" and self.engine.tracker.sums is not None:
            self.engine.end_period(self._steps)
        self._epoch = None

    def report(self, logits: Mapping[str, Tensor | None], target: Tensor) -> None:
        """Report unimodal logits of the batch; see :func:`~inforeg_lightning.report_unimodal`."""
        self.engine.receive(logits, target)

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to go on as if nothing had happened; plain types and tensors."""
        self._close_step()
        return self.engine.state_dict() | {"steps": self._steps}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state, before :meth:`begin_epoch`.

        Raises:
            ValueError: It is of another version, variant or score, or of other modalities or
                periods.
        """
        self.engine.load_state_dict(state)
        self._steps = state["steps"]
        if self.engine.is_attached:
            self.engine.attach(find_processes(), self.optimizers, self)

    def close(self) -> None:
        """Remove all hooks from model and optimizers; the history stays."""
        self._close_step()
        self.engine.close()
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def summary(self) -> str:
        """What is regulated and what was done, in words; once a batch has been seen."""
        return "\n".join([*describe_start(self.engine), describe_end(self.engine)])

    def plot(self, quantity: str = "trace") -> Any:
        """A ``matplotlib`` figure of a quantity of the history; see the callback's ``plot``."""
        return plot_history(self.history, self.engine.modalities, quantity)

    def frame(self) -> Any:
        """The history as a tidy ``pandas.DataFrame``."""
        return history_frame(self.history)

    def __repr__(self) -> str:
        """The method and the paths."""
        paths = {m: p[0] if len(p) == 1 else [*p] for m, p in self.engine.paths.items()}
        return f"Regulator({paths}, {self.engine.method!r}, head={self.engine.head_path!r})"

    def _before_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if self.engine.is_attached:
            self.engine.before_step(optimizer, self._steps)

    def _after_step(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        if optimizer is self.optimizers[-1]:
            self._steps += 1

    def _close_step(self) -> None:
        """Take in the step that was made since the last batch, and a period that is full."""
        if self.engine.is_attached and self.engine.end_batch():
            self.engine.end_period(self._steps)

    def _scales(self, loss_scale: float) -> Scales:
        if self.scaler is None:
            return Scales(loss_scale)
        one = torch.ones((), device=next(self.model.parameters()).device)
        return Scales(self.scaler.scale(one * loss_scale), self.scaler.scale(one))


def _listed(optimizer: Optimizer | Sequence[Optimizer]) -> list[Any]:
    return [*optimizer] if isinstance(optimizer, Sequence) else [optimizer]


def _inner(optimizer: Any) -> Optimizer:
    """The optimizer inside those of Fabric and Accelerate, which has the hooks."""
    while isinstance(inner := getattr(optimizer, "optimizer", None), Optimizer):
        optimizer = inner
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            "`optimizer` must be a torch.optim.Optimizer, or several, but is of type "
            f"{type(optimizer).__name__}"
        )
    return optimizer


def _unwrapped(model: nn.Module) -> nn.Module:
    """The model inside DistributedDataParallel, Fabric's wrapper and ``torch.compile``."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"`model` must be a torch.nn.Module, but is of type {type(model).__name__}")
    for name in ("_orig_mod", "module", "_forward_module"):
        inner = model._modules.get(name)
        if inner is not None and type(model).__name__ in _WRAPPERS:
            return _unwrapped(inner)
    return model


_WRAPPERS: frozenset[str] = frozenset(
    {"DistributedDataParallel", "DataParallel", "_FabricModule", "OptimizedModule"}
)
