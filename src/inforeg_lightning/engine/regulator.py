"""A method in any loop of PyTorch: the one entry outside Lightning."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.engine.checks import check_held, check_optimizers, shown
from inforeg_lightning.engine.context import Scales
from inforeg_lightning.engine.distributed import find_processes
from inforeg_lightning.engine.engine import Engine
from inforeg_lightning.engine.lent_parameters import average, leave
from inforeg_lightning.engine.method import Method
from inforeg_lightning.engine.probe.target import (
    Present,
    Target,
    check_present,
    find_present,
    find_target,
)
from inforeg_lightning.engine.reporting import listen
from inforeg_lightning.engine.stepping import Steps
from inforeg_lightning.engine.summary import (
    describe_end,
    describe_start,
    history_frame,
    plot_history,
    warn_of_idle_window,
)
from inforeg_lightning.engine.wrappers import layers_of, optimizers_of

_AT_WORK: "WeakKeyDictionary[Optimizer, WeakSet[Regulator]]" = WeakKeyDictionary()


class Regulator:
    """Run a balancing method in a loop of your own.

    Gradients are edited as the optimizer steps, by a hook of its own: after accumulation, averaging
    over processes, unscaling by a ``GradScaler`` and clipping. (In Lightning the edit comes before
    clipping.) Where ``torch.distributed`` is initialised, scores are those of all processes.

    Args:
        model: What the paths lead into; a wrapped model (``DistributedDataParallel``, Fabric,
            ``torch.compile``) or the one inside it.
        optimizer: The one, or several, that train it; a wrapped one (Fabric, Accelerate) too. Not
            LBFGS, which makes its gradients inside its step.
        encoders: Modality -> attribute path, or several, of its encoder in the model.
        method: One of :mod:`inforeg_lightning.methods`, an object of its own for each Regulator.
        head: Attribute path of the fusion head; ``None`` if the training step reports its logits.
        target: Where the target stands in what :meth:`batch` is given, if that is no tensor: a key,
            an index, an attribute or a callable.
        period: ``"epoch"`` or a number of optimizer steps: what windows and ``history`` count in.
        present: Where it stands which samples have which modality, as ``target``.
        ignore_index: The target that counts nowhere.
        combine: Allow another Regulator on the same optimizer; both must allow it.
        scaler: The ``torch.amp.GradScaler`` of the loop, which methods that add to the loss need.
        planned_epochs: How many there will be, to say at the start if none can be regulated.

    A step that a ``GradScaler`` leaves out is counted as skipped once the gradients are gone: call
    ``zero_grad()``, with its default of setting them to ``None``, before the next batch.

    Raises:
        ValueError: An argument is out of range, or a path leads nowhere.
        TypeError: An argument is of another kind than described.

    Example::

        encoders = {"audio": "audio_encoder", "video": "video_encoder"}
        regulator = Regulator(model, optimizer, encoders, InfoReg(), head="head")
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
        combine: bool = False,
        scaler: Any = None,
        planned_epochs: int | None = None,
    ) -> None:
        if not isinstance(method, Method):
            raise TypeError(
                "`method` must be one of inforeg_lightning.methods, for example InfoReg(), but is "
                f"{shown(method)}"
            )
        if method.needs_trials:
            raise ValueError(
                f"`method` is {method!r}, which measures on copies of the model that are trained "
                "apart, and a loop of your own tells it of no loaders. Pass measure='running', or "
                "train with Lightning and the method's callback."
            )
        layers = layers_of(model)
        self.model = layers[-1]
        self.optimizers = optimizers_of(optimizer)
        self.target, self.present, self.scaler, self.combine = target, present, scaler, combine
        name = f"Regulator({type(method).__name__})"
        self.engine = Engine(method, encoders, head, ignore_index, period, name)
        self._epoch: int | None = None
        self._epoch_of_state: int | None = None
        self._is_open = False
        self._planned_epochs = planned_epochs
        check_optimizers(self.optimizers, has_scaler=scaler is not None)
        method.check(self.model, self.optimizers)
        self._check_alone()
        self._check_free()
        self.engine.find(self.model)
        check_held(self.engine.modules, self.optimizers)
        self.engine.reset()
        if self.engine.adds_heads:
            self._add_heads()
        self.engine.at_head.refuses_early_backward = True
        for layer in layers[:-1]:  # whichever of them a training step reports for
            listen(self.engine, layer)
        for inner in self.optimizers:
            _AT_WORK.setdefault(inner, WeakSet()).add(self)
        self._steps = Steps(self.optimizers, self._before_step)

    @property
    def method(self) -> Method:
        """What is measured and done."""
        return self.engine.method

    @property
    def unimodal_heads(self) -> dict[str, nn.Module]:
        """Modality -> its unimodal head; empty for ``"shared"``. They are not part of the model."""
        return dict(self.engine.heads.modules)

    @property
    def history(self) -> list[dict[str, Any]]:
        """One plain dict per period that has ended; see the method's callback."""
        self._take_in()
        return self.engine.tracker.history

    # Training

    def begin_epoch(self, epoch: int) -> None:
        """Begin an epoch, counted from 0; go on with the one that a checkpoint was saved in.

        Raises:
            RuntimeError: The one before has not been ended, or the Regulator is closed.
        """
        if not self._steps.are_watched:
            raise RuntimeError("this Regulator is closed: make a new one to train on")
        if self._epoch is not None:
            raise RuntimeError(
                f"epoch {self._epoch} has begun and not ended: call end_epoch() before "
                f"begin_epoch({epoch})"
            )
        is_new = self.engine.find(self.model)
        if is_new and self.engine.is_attached and self.engine.tracker.sums is not None:
            self.engine.end_period(self._steps.made)  # anchors are of the modules before
        if is_new or not self.engine.is_attached:
            self._attach()
        if self._epoch_of_state not in (None, epoch):
            self._end_epoch()  # the checkpoint was saved after its last batch
        self._epoch, self._epoch_of_state = epoch, None

    @contextmanager
    def batch(
        self,
        batch: Any = None,
        present: Mapping[str, Tensor] | None = None,
        loss_scale: float = 1.0,
    ) -> Iterator[None]:
        """Watch the forward pass of a (micro-)batch; call ``backward`` after it.

        Methods that only edit gradients (InfoReg, OGM, OGM-GE, MSLR) also take ``backward`` and
        ``step`` inside the block; those that decide what is passed back refuse it. After an
        exception inside the block the batch counts nowhere, and the next one may come.

        Args:
            batch: The target, a tensor; or the batch, in which ``target=`` finds it. It may be left
                out where logits are reported.
            present: Modality -> which samples have it, shape ``(B,)``, bool; by default what
                ``present=`` of the constructor finds in the batch.
            loss_scale: What the loop multiplies this loss by before its backward pass, one over the
                number of accumulated batches, say. Methods that add to the loss need it.

        Raises:
            ValueError: The target is not found, or there are no unimodal logits.
            RuntimeError: No epoch has begun, or another batch is open.
        """
        if self._is_open:
            raise RuntimeError("another batch is open: leave its `with regulator.batch(...)` first")
        if self._epoch is None and not self.engine.validation.is_open:
            raise RuntimeError("no epoch has begun: call begin_epoch(epoch) before the first batch")
        target = None
        if self.engine.probe is not None:
            target = batch if isinstance(batch, Tensor) else find_target(batch, self.target)
        if present is not None:
            present = check_present(present, self.engine.modalities)
        elif not isinstance(batch, Tensor):
            present = find_present(batch, self.present, self.engine.modalities)
        if self.engine.validation.is_open:
            self.engine.validation.begin_batch(self.engine.probe, target, present or {})
            yield
            self.engine.validation.end_batch()
            return
        assert self._epoch is not None
        self._steps.forget_failed()
        self._take_in(next_batch=True)
        self.engine.begin_batch(target, present or {}, self._scales(loss_scale), self._epoch)
        self._is_open = True
        try:
            yield
            self._score()
        except BaseException:
            self._is_open = False
            self._take_in(next_batch=True)
            raise
        self._is_open = False

    def end_epoch(self) -> None:
        """End the epoch: trace, relative change, history.

        Raises:
            RuntimeError: None has begun, or a batch is open.
        """
        if self._epoch is None or self._is_open:
            raise RuntimeError(
                "end_epoch() needs an epoch that has begun, and comes after its last "
                "`with regulator.batch(...)` block"
            )
        self._end_epoch()

    @contextmanager
    def validation(self) -> Iterator[dict[str, float]]:
        """Validate inside: batches are scored, nothing is edited.

        Yields:
            A dict that holds modality -> score over all samples once the block has ended.

        Raises:
            RuntimeError: Training has not begun, or a batch is open.
        """
        if not self.engine.is_attached or self._is_open:
            raise RuntimeError(
                "validation() comes after the first begin_epoch(epoch), which finds out where the "
                "model is, and outside of `with regulator.batch(...)`"
            )
        self._take_in()
        scores: dict[str, float] = {}
        self.engine.validation.begin()
        try:
            yield scores
        except BaseException:
            self.engine.validation.cancel()
            raise
        scores |= self.engine.validation.end(self.engine.processes)

    def report(self, logits: Mapping[str, Tensor | None], target: Tensor) -> None:
        """Report unimodal logits of the batch; see :func:`~inforeg_lightning.report_unimodal`."""
        self.engine.receive(logits, target)

    # State

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint needs to go on as if nothing had happened; plain types and tensors.

        Gradients that wait for their step are in no checkpoint: save after a step.
        """
        self._take_in()
        counts = {"steps": self._steps.made, "open_epoch": self._epoch}
        return deepcopy(self.engine.state_dict()) | counts  # training goes on in these very tensors

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state, before :meth:`begin_epoch`.

        Raises:
            ValueError: It is of another version, variant or score, or of other modalities or
                periods.
        """
        self.engine.load_state_dict(deepcopy(dict(state)))
        self._steps.made, self._epoch_of_state = state["steps"], state["open_epoch"]
        self._epoch = None
        if self.engine.is_attached:
            self._attach()

    def close(self) -> None:
        """Remove all hooks from model and optimizers; the history stays."""
        self._take_in()
        self._is_open = False
        self.engine.close()
        leave(self.engine.heads.added_parameters(), self.optimizers)
        self._steps.remove()
        for inner in self.optimizers:
            _AT_WORK.get(inner, WeakSet()).discard(self)

    # What a user sees

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

    # Inside

    def _add_heads(self) -> None:
        """Make unimodal heads, and have the optimizer train them."""
        processes = find_processes()
        if processes.size > 1 and self.scaler is not None:
            # A scaler decides per process whether to step, before their gradients are averaged.
            raise ValueError(
                f"{self.engine.name} would average the gradients of its unimodal heads over "
                "processes after `scaler` has looked at them. Pass unimodal_heads='shared', or map "
                "to modules inside the wrapped model, or train in bfloat16."
            )
        self.engine.make_heads(self.model, processes)
        self.engine.train_heads(self.model, self.optimizers)

    def _attach(self) -> None:
        self._check_free()
        is_first = self._planned_epochs is not None and not self.engine.is_attached
        check_held(self.engine.modules, self.optimizers)
        self.engine.attach(find_processes(), self.optimizers, self)
        if is_first and self._planned_epochs is not None and self.engine.period == "epoch":
            warn_of_idle_window(self.engine, self._planned_epochs)

    def _check_free(self) -> None:
        context = getattr(self.method, "context", None)
        if context is not None and context.host is not self:
            raise ValueError(
                f"`method` is at work elsewhere: {type(self.method).__name__} keeps what it has "
                "measured of a training. Make an object of its own for each Regulator."
            )

    def _check_alone(self) -> None:
        for inner in self.optimizers:
            for other in _AT_WORK.get(inner, ()):
                measures = self.engine.only_measures or other.engine.only_measures
                if not measures and not (self.combine and other.combine):
                    raise ValueError(
                        f"`optimizer` has {other.engine.name} at work already, and both would edit "
                        "its gradients. close() that one, give one window='never' to measure only, "
                        "or give both combine=True."
                    )

    def _before_step(self, optimizer: Optimizer, has_closure: bool) -> None:
        if not self.engine.is_attached or self.engine.tracker.sums is None:
            return  # a step of the user's own, outside of the epochs
        if has_closure:
            raise RuntimeError(
                "the optimizer's step() was given a closure, which makes the gradients after the "
                "Regulator has looked for them: call backward() first, and step() without"
            )
        if getattr(optimizer, "grad_scale", None) is not None:
            check_optimizers([optimizer], has_scaler=True)
        if self._is_open:
            self._score()
        average(self.engine.heads.added_parameters(), self.engine.processes, optimizer)
        self.engine.before_step(optimizer, self._steps.made)

    def _score(self) -> None:
        """Add the scores of the batch that is open, once."""
        if self.engine.awaits_scores:
            if self._was_skipped():
                self.engine.skip_step()
            self.engine.before_backward()

    def _take_in(self, next_batch: bool = False) -> None:
        """Take in the step that was made since the last batch, and a period that is full.

        Args:
            next_batch: Whether another one follows; else it waits if its step is still to be made.
        """
        if self._is_open or not self.engine.is_attached:
            return
        if self._was_skipped():
            self.engine.skip_step()
        is_over = next_batch or not self.engine.awaits_step
        if is_over and self.engine.end_batch():
            self.engine.end_period(self._steps.made)

    def _was_skipped(self) -> bool:
        """Whether batches wait for their step, but their gradients are gone."""
        return self.engine.awaits_step and not any(
            p.grad is not None for o in self.optimizers for g in o.param_groups for p in g["params"]
        )

    def _end_epoch(self) -> None:
        self._take_in(next_batch=True)
        self.engine.method.end_epoch()
        if self.engine.period == "epoch" and self.engine.tracker.sums is not None:
            self.engine.end_period(self._steps.made)
        self._epoch = None

    def _scales(self, loss_scale: float) -> Scales:
        if self.scaler is None:
            return Scales(loss_scale)
        one = torch.ones((), device=next(self.model.parameters()).device)
        return Scales(self.scaler.scale(one * loss_scale), self.scaler.scale(one))
