"""Runs a method on a model: what every loop calls, batch by batch and step by step."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.core.window import RangeWindow
from inforeg_lightning.engine.batch import AtHead, Batch, Reported
from inforeg_lightning.engine.book.history import Entry
from inforeg_lightning.engine.book.state import Lifetime
from inforeg_lightning.engine.book.tracker import Tracker
from inforeg_lightning.engine.checkpoint import read_state, write_state
from inforeg_lightning.engine.checks import check_ignored, check_period
from inforeg_lightning.engine.compiled import forget_compiled
from inforeg_lightning.engine.context import Context, Scales
from inforeg_lightning.engine.distributed import Processes
from inforeg_lightning.engine.encoder import Encoder
from inforeg_lightning.engine.finding import Finder
from inforeg_lightning.engine.lent_parameters import join
from inforeg_lightning.engine.method import Method
from inforeg_lightning.engine.probe.probe import UnimodalProbe
from inforeg_lightning.engine.probe.target import check_present
from inforeg_lightning.engine.reporting import check_report, ignore, listen, no_logits
from inforeg_lightning.engine.scoring import SCORES, StepScores
from inforeg_lightning.engine.trials import Copies, Trials
from inforeg_lightning.engine.unimodal_heads import UnimodalHeads
from inforeg_lightning.engine.validation import Validation


class Engine:
    """A method at work on a model.

    A loop calls, in this order: :meth:`find` and :meth:`attach` before training; for each
    (micro-)batch :meth:`begin_batch`, :meth:`before_backward` and :meth:`end_batch`; before each
    step of an optimiser :meth:`before_step`; at the end of a period :meth:`end_period`; and
    :meth:`close` after training.

    Args:
        method: What is measured and done.
        encoders: Modality -> attribute path, or several, of its encoder in the model.
        head: Attribute path of the fusion head, or ``None``.
        ignore_index: The target that counts nowhere.
        period: ``"epoch"`` or a number of optimiser steps.
        name: Who the user constructed, for messages.
    """

    def __init__(
        self,
        method: Method,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None,
        ignore_index: float,
        period: int | str,
        name: str,
    ) -> None:
        self._found = Finder(encoders, head)
        self.modalities = tuple(self._found.paths)
        score = method.score
        if not callable(score) and score not in SCORES:
            raise ValueError(f"`score` must be a callable or one of {[*SCORES]}, but is {score!r}")
        if head is None and method.edits_head:
            raise ValueError(
                f"{name} needs `head`, the attribute path of the module that makes the logits: it "
                "edits what is passed back through it."
            )
        self.method = method
        self.ignore_index = check_ignored(ignore_index)
        self.period = check_period(period)
        self.name = name
        self.tracker = Tracker(
            self.modalities,
            method.make_window(self.modalities),
            method.quantities,
            method.sums,
            name,
        )
        # Whoever only measures has no unimodal losses to train heads of its own by.
        heads = None if self.only_measures else method.unimodal_heads
        self.heads = UnimodalHeads(heads or "shared", self.modalities, name)
        self.processes = Processes()
        self.validation = Validation(method, self.tracker, ignore_index, self.heads)
        self._context: Context | None = None
        self._scores = StepScores(
            self.modalities, score, ignore_index, method.needs_scores, method.scores_by_mean
        )
        self._batch = Batch()
        self.at_head = AtHead(method, self.heads, self._batch, self.ignore_index, name)
        self._stepped = False

    @property
    def paths(self) -> Mapping[str, tuple[str, ...]]:
        """Modality -> attribute paths of its encoder."""
        return self._found.paths

    @property
    def head_path(self) -> str | None:
        """Attribute path of the head."""
        return self._found.head_path

    @property
    def modules(self) -> Mapping[str, Sequence[nn.Module]]:
        """Modality -> its modules, once found."""
        return self._found.modules

    @property
    def probe(self) -> UnimodalProbe | None:
        """What watches them, once found, if there is a head."""
        return self._found.probe

    @property
    def device(self) -> torch.device:
        """That of the encoders, while attached."""
        assert self._context is not None
        return self._context.device

    # Before training

    def find(self, model: nn.Module, will_unfreeze: bool = False) -> bool:
        """Find encoders and head in a model, and watch them unless these very ones are watched.

        Args:
            model: That the paths lead into.
            will_unfreeze: Whether frozen encoders are unfrozen during training.

        Returns:
            Whether anything was found that was not there before.

        Raises:
            ValueError: A path leads nowhere, or the modules do not fit.
        """
        edit = self.at_head.edit_output if self.method.edits_head else None
        replace = self.at_head.replace_inputs if self.method.replaces_features else None
        changed = self._found.find(model, will_unfreeze, edit, replace)
        if not self.only_measures:
            self.heads.find(model)
        listen(self, model)
        return changed

    @property
    def adds_heads(self) -> bool:
        """Whether unimodal heads have to be made before the optimisers are."""
        return self.heads.adds and not self.only_measures

    def make_heads(self, model: nn.Module, processes: Processes | None = None) -> None:
        """Make the unimodal heads that the model has not got.

        Args:
            model: That is trained.
            processes: That have to begin with the same heads, where no wrapper of the model sees to
                it.

        Raises:
            NotThere: An encoder or the head is not there yet.
            ValueError: They cannot be made for these modules.
        """
        modules, head = self._found.look(model)
        assert head is not None
        self.heads.make(model, modules, head)
        if processes is not None:
            self.heads.load_state_dict(processes.broadcast(self.heads.state_dict()))

    def train_heads(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Have the optimisers train the unimodal heads that were made.

        Raises:
            ValueError: None holds them, or the joint head.
        """
        head = self._found.look(model)[1]
        join(self.heads.added_parameters(), optimizers, head, self.name)

    def attach(self, processes: Processes, optimizers: Sequence[Optimizer], host: Any) -> None:
        """Take the modules that were found, on the device they train on.

        Args:
            processes: That train together.
            optimizers: That train the model.
            host: The Trainer, or the Regulator.
        """
        self.processes = processes
        self.tracker.speaks = processes.rank == 0
        encoders = {modality: Encoder(self.modules[modality]) for modality in self.modalities}
        self.tracker.attach(encoders)
        self._context = Context(
            self.name,
            self.modalities,
            encoders,
            self.modules,
            None if self.probe is None else self.probe.head,
            self.head_path,
            processes,
            self.tracker,
            optimizers,
            host,
            self.heads,
        )
        self.heads.to(self._context.device)
        self.method.attach(self._context)
        forget_compiled()

    @property
    def is_attached(self) -> bool:
        """Whether it is at work on a model."""
        return self._context is not None

    def reset(self) -> None:
        """Begin afresh: no history, nothing kept."""
        self.tracker.reset()
        self.method.reset()
        self.heads.reset()
        self._scores.ever_scored = False
        self._forget_batch()

    def close(self) -> None:
        """Remove the hooks, and let go of the model."""
        ignore(self)
        self._found.close()
        self.heads.remove()
        self._forget_batch()
        self.tracker.detach()
        self.method.detach()
        self._context = None

    def measure(self, copies: Copies, epoch: int) -> None:
        """Let the method measure on copies of the model before an epoch."""
        with copies.isolated(epoch):
            trials = Trials(copies, self._found, self.heads, self.ignore_index, self.processes)
            self.method.measure(trials, epoch)

    # A batch

    def begin_batch(
        self, target: Tensor | None, present: Mapping[str, Tensor], scales: Scales, epoch: int
    ) -> None:
        """Watch the forward pass of a (micro-)batch; begin a period at its first.

        Args:
            target: Of the batch; needed if there is a head.
            present: Modality -> which samples have it, shape ``(B,)``, bool.
            scales: What its loss is multiplied by.
            epoch: That the batch belongs to.
        """
        assert self._context is not None
        if self._stepped:
            self._forget_step()
        present = check_present(present, self.modalities) if present else {}
        self._batch.open(None if self.probe is None else target, present)
        if self.probe is not None:
            self.probe.start()
        begins = self.tracker.sums is None
        if begins:
            self.tracker.begin(epoch)
        self._context.scales = scales
        self.method.begin_batch(begins)

    def before_backward(self, loss: Tensor | None = None) -> None:
        """Add the scores of a (micro-)batch, after its forward and before its backward pass.

        Args:
            loss: Of the batch, to see whether it is finite, where the loop knows it.

        Raises:
            ValueError: There are no unimodal logits, or they do not fit the target.
        """
        assert self._context is not None
        target, self._batch.awaits_scores = self._batch.target, False
        for logits, of_batch, present in self._logits_of_batch():
            if self._stepped:  # a second forward pass of a manually optimised batch
                self._forget_step()
            self._scores.add(logits, of_batch, present)
        device = self.device
        finite = (
            torch.ones((), dtype=torch.bool, device=device)
            if loss is None
            else torch.isfinite(loss.detach()).all()
        )
        self._scores.add_loss(finite)
        if loss is not None:
            self.method.see_loss(loss)
        if self.method.needs_scores and not self._scores.ever_scored:
            raise ValueError(no_logits(self.head_path))
        self.method.before_backward(target, finite)

    def before_step(self, optimizer: Optimizer, index: int) -> None:
        """Measure the gradients of a step, then edit those of the encoders in their window.

        Args:
            optimizer: The one that is about to step.
            index: How many steps were made before.
        """
        scored = self._scores.over_processes(self.processes)
        if scored is not None:  # else this step is of other losses, or of none
            step = self.tracker.measure(optimizer, scored, index)
            if step is not None:
                with torch.no_grad():  # a graph over weights would be kept, and grow, with the sums
                    done = self.method.edit(step)
                self.tracker.record(step, done)
        self.method.after_scores()
        self._stepped = True

    def has_unseen_loss(self, optimizer: Optimizer) -> bool:
        """Whether an optimiser is about to step encoders though no loss was ever seen."""
        return (
            self.method.needs_scores
            and not self._scores.ever_scored
            and self.tracker.has_gradient(optimizer)
        )

    def end_batch(self) -> bool:
        """Let go of a batch and take in the step that it led to.

        Returns:
            Whether a period of steps is full.
        """
        if self.probe is not None:
            self.probe.stop()
        self._batch.close()
        self.heads.last = None
        self.method.end_batch()
        self.tracker.fold()
        sums = self.tracker.sums
        return isinstance(self.period, int) and sums is not None and sums.steps >= self.period

    def end_period(self, index: int) -> Entry:
        """Close the period that is open, and return its entry.

        Args:
            index: How many steps were made so far.
        """
        self.method.end_period()
        entry = self.tracker.end(index)
        if self.period == "epoch" or entry["epoch"] > self.tracker.history[0]["epoch"]:
            self.tracker.warn_of_absence()
        if self.method.unimodal_heads is not None:
            entry["unimodal_heads"] = self.heads.kind
        self.method.describe_period(entry)
        self.method.forget(Lifetime.PERIOD)
        return entry

    def receive(self, logits: Mapping[str, Tensor | None], target: Tensor) -> None:
        """Take the unimodal logits of a batch; see :func:`report_unimodal`."""
        check_report(logits, self.modalities, self.head_path, self.name)
        found = {m: z.detach() for m in self.modalities if (z := logits[m]) is not None}
        if self.validation.is_open:
            self.validation.add(found, target)
        elif self._batch.is_open:
            self._batch.reported.append((found, target, self._batch.present))

    # Steps that a gradient scaler leaves out, in loops that do not tell

    @property
    def awaits_scores(self) -> bool:
        """Whether a batch is open whose scores have still to be added."""
        return self._batch.awaits_scores

    @property
    def awaits_step(self) -> bool:
        """Whether batches have been scored whose step has not been made."""
        return self._scores.has_loss and not self._stepped

    def skip_step(self) -> None:
        """Count the step of the batches since the last one as skipped."""
        self._forget_step()
        self.tracker.skip()

    # State

    @property
    def only_measures(self) -> bool:
        """Whether the window never opens."""
        window = self.tracker.window
        return isinstance(window, RangeWindow) and window.start == window.stop

    def state_dict(self, inside: bool = True) -> dict[str, Any]:
        """History, open period and what the method keeps; plain types and tensors only.

        Args:
            inside: Whether the period that is open goes on after this.
        """
        state = write_state(self.method, self.tracker, self.period, inside)
        heads = self.heads.state_dict()
        return state | {"unimodal_heads": heads} if heads else state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state, before :meth:`attach`.

        Raises:
            ValueError: It is of another version, variant or score, or of other modalities or
                periods.
        """
        heads = state.get("unimodal_heads", {})
        self.heads.check_state(heads, self.adds_heads)
        read_state(state, self.method, self.tracker, self.period)
        self.heads.load_state_dict(heads)

    # Inside

    def _logits_of_batch(self) -> list[Reported]:
        batch = self._batch
        reported = [*batch.reported]
        batch.reported.clear()
        if self.probe is not None and batch.target is not None:
            known, self.heads.last = self.method.unimodal_logits() or self.heads.last, None
            logits = self.probe.logits() if known is None else known
            if known is not None:
                self.probe.start()  # as `logits` does: another forward pass may follow
            if logits is not None:
                reported.append((logits, batch.target, batch.present))
        return reported

    def _forget_batch(self) -> None:
        self._batch.close()
        self.heads.last = None
        self.method.forget(Lifetime.BATCH)
        self._forget_step()

    def _forget_step(self) -> None:
        self._scores.forget()
        self.method.forget(Lifetime.STEP)
        self._stepped = False
