"""What the methods share: finding encoders and head, and a score of each modality every step."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, ClassVar

import lightning.pytorch as L
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from inforeg_lightning.callbacks.checks import (
    check_encoders,
    check_optimizers,
    check_parameters,
    check_strategy,
    resolve,
)
from inforeg_lightning.callbacks.head import HeadCall
from inforeg_lightning.callbacks.scoring import StepScores
from inforeg_lightning.callbacks.unimodal import (
    OutputEdit,
    Target,
    UnimodalProbe,
    find_target,
)
from inforeg_lightning.core.scores import ScoreFunction, log_probability, probability

_SCORES: dict[str, ScoreFunction] = {"log_prob": log_probability, "prob": probability}


class UnimodalCallback(L.Callback):
    """Base of the methods that compare modalities by their unimodal logits.

    Args:
        encoders: Modality -> attribute path, or several, of its encoder in the LightningModule.
        head: Attribute path of the fusion head; ``None`` if ``training_step`` calls
            :func:`report_unimodal`.
        target: Where the class indices stand in the batch: a key, an index or a callable; ``None``
            for the key ``"label"`` of a mapping or the last element of a sequence.
        score: ``"log_prob"``, ``"prob"`` or a callable ``(logits, target) -> per-sample score``.

    Raises:
        ValueError: Fewer than two modalities, or an unknown score.
        TypeError: An argument is of another kind than described.
    """

    _needs_scores: ClassVar[bool] = True
    """Whether training without unimodal logits is an error."""
    _edits_head: ClassVar[bool] = False
    """Whether :meth:`_edit_output` is overridden; such a method needs ``head``."""

    _batch_target: Tensor | None
    _reported: list[tuple[Mapping[str, Tensor], Tensor]]
    _stepped: bool

    def __init__(
        self,
        encoders: Mapping[str, str | Sequence[str]],
        head: str | None = None,
        target: Target = None,
        score: str | ScoreFunction = "log_prob",
    ) -> None:
        self.encoders = check_encoders(encoders)
        self.modalities = tuple(self.encoders)
        if head is not None and not isinstance(head, str):
            raise TypeError(f"`head` must be an attribute path or None, but is {head!r}")
        if not (target is None or callable(target) or isinstance(target, str | int)):
            raise TypeError(f"`target` must be a key, an index or a callable, but is {target!r}")
        if not callable(score) and score not in _SCORES:
            raise ValueError(f"`score` must be a callable or one of {[*_SCORES]}, but is {score!r}")
        if head is None and self._edits_head:
            raise ValueError(
                f"{type(self).__name__} needs `head`, the attribute path of the module that makes "
                "the logits: it edits what is passed back through it."
            )
        self.head = head
        self.target = target
        self.score = score
        self._scores = StepScores(
            self.modalities,
            score if callable(score) else _SCORES[score],
            takes_classes=not callable(score),
            required=self._needs_scores,
        )
        self._probe: UnimodalProbe | None = None
        self._modules: dict[str, list[nn.Module]] = {}
        self._fitting = True
        self._forget_batch()

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Resolve the paths and register the hooks; later is too late for a compiled module."""
        self._fitting = stage == "fit"
        if not self._fitting:
            return
        check_strategy(trainer)
        self._close_probe()
        self._scores.ever_scored = False
        try:
            self._find_modules(trainer, pl_module)
        except ValueError:
            # Modules made in `configure_model` do not exist yet: they are looked for again below.
            if not is_overridden("configure_model", pl_module):
                raise
            self._modules = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find modules that ``configure_model`` has made or replaced; check the optimisers."""
        check_optimizers(trainer)
        if is_overridden("configure_model", pl_module):
            self._close_probe()
            self._find_modules(trainer, pl_module)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove the hooks."""
        if stage == "fit":
            self._close_probe()
        self._fitting = True

    def on_exception(
        self, trainer: L.Trainer, pl_module: L.LightningModule, exception: BaseException
    ) -> None:
        """Remove the hooks: a training that fails is not torn down."""
        self._close_probe()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Remember the target of the batch and watch its forward pass."""
        if self._stepped:
            self._forget_step()
        if self._probe is not None:
            self._batch_target = find_target(batch, self.target)
            self._probe.start()

    def on_before_backward(
        self, trainer: L.Trainer, pl_module: L.LightningModule, loss: Tensor
    ) -> None:
        """Add the scores of this (micro-)batch to those of the step."""
        for logits, target in self._logits_of_batch(trainer):
            if self._stepped:  # a second forward pass of a manually optimised batch
                self._forget_step()
            self._scores.add(logits, target)
        self._scores.add_loss(loss)
        if self._needs_scores and not self._scores.ever_scored:
            raise ValueError(
                "there are no unimodal logits: "
                + (
                    "`head` was not given, and training_step made no `report_unimodal(...)` call."
                    if self.head is None
                    else f"`head={self.head!r}` was not called in training_step."
                )
                + " Pass the attribute path of the module that makes the logits as `head=`, or "
                "report them."
            )

    def on_train_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Let go of the batch."""
        if self._probe is not None:
            self._probe.stop()
        self._batch_target = None
        self._reported.clear()

    def receive(self, logits: Mapping[str, Tensor], target: Tensor) -> None:
        """Take the unimodal logits of a batch; see :func:`report_unimodal`."""
        if self.head is not None:
            raise ValueError(
                f"unimodal logits are reported, but `head={self.head!r}` is given too. Leave out "
                "`head=` to use what training_step reports."
            )
        if set(logits) != set(self.modalities):
            raise ValueError(
                f"`report_unimodal` got logits of {sorted(logits)}, but {type(self).__name__} has "
                f"encoders of {sorted(self.modalities)}. Report every modality by the same name."
            )
        self._reported.append(({m: logits[m].detach() for m in self.modalities}, target))

    def _logits_of_batch(self, trainer: L.Trainer) -> list[tuple[Mapping[str, Tensor], Tensor]]:
        reported = [*self._reported]
        self._reported.clear()
        if self._probe is not None and self._batch_target is not None:
            logits = self._probe.logits(forward_context(trainer))
            if logits is not None:
                reported.append((logits, self._batch_target))
        return reported

    def _edit_output(self, call: HeadCall, output: Tensor, target: Tensor) -> Tensor:
        """What a training step goes on with in place of the output of its head.

        Args:
            call: The head's call, with its graph.
            output: What it returned.
            target: Class indices of this (micro-)batch, shape ``(B,)``.
        """
        return output

    def _output_edit(self) -> OutputEdit | None:
        if not self._edits_head:
            return None

        def edit(call: HeadCall, output: Tensor) -> Tensor:
            assert self._batch_target is not None
            return self._edit_output(call, output, self._batch_target)

        return edit

    def _step_scores(self, trainer: L.Trainer) -> tuple[Tensor, Tensor] | None:
        """The scores of the step's global batch, shape ``(M,)``, and whether the step counts."""
        return self._scores.over_processes(partial(sum_over_processes, trainer))

    def _forget_batch(self) -> None:
        self._batch_target = None
        self._reported = []
        self._forget_step()

    def _forget_step(self) -> None:
        self._scores.forget()
        self._stepped = False

    def _find_modules(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        modules = {
            modality: [resolve(module, path, f"encoders[{modality!r}]") for path in paths]
            for modality, paths in self.encoders.items()
        }
        head = None if self.head is None else resolve(module, self.head, "head")
        check_parameters(modules, head, trainer)
        self._modules = modules
        if head is not None:
            self._probe = UnimodalProbe(modules, head, self._output_edit())

    def _close_probe(self) -> None:
        if self._probe is not None:
            self._probe.close()
            self._probe = None
        self._modules = {}
        self._forget_batch()


def report_unimodal(
    module: L.LightningModule, logits: Mapping[str, Tensor], target: Tensor
) -> None:
    """Report a batch's unimodal logits to the callbacks, from ``training_step``.

    For modules whose head cannot be split from outside. Without a callback that listens, in
    validation and outside a Trainer it does nothing.

    Args:
        module: The LightningModule, ``self``.
        logits: Modality -> unimodal logits, shape ``(B, C)`` for the built-in scores.
        target: Class indices, shape ``(B,)``, or what a ``score`` of your own takes.

    Several reports of one step add up, as micro-batches do.

    Raises:
        ValueError: The names are not those of the callback's encoders, or it was given a ``head``.
        TypeError: ``module`` is not a LightningModule, or logits or target are not tensors.

    Example::

        def training_step(self, batch, batch_idx):
            logits_a, logits_v, fused = self(batch["audio"], batch["video"])
            report_unimodal(self, {"audio": logits_a, "video": logits_v}, batch["label"])
            return F.cross_entropy(fused, batch["label"])
    """
    if not isinstance(module, L.LightningModule):
        raise TypeError(
            f"`module` must be the LightningModule, `self`, but is a {type(module).__name__}"
        )
    for name, value in {**logits, "target": target}.items():
        if not isinstance(value, Tensor):
            raise TypeError(f"`{name}` must be a tensor, but is a {type(value).__name__}")
    try:
        trainer = module.trainer
    except RuntimeError:  # not attached to a Trainer
        return
    if trainer.training:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, UnimodalCallback):
                callback.receive(logits, target)


def sum_over_processes(trainer: L.Trainer, tensor: Tensor) -> Tensor:
    """The sum of a tensor over the processes; all of them have to call it."""
    total = trainer.strategy.reduce(tensor, reduce_op="sum")
    assert isinstance(total, Tensor)
    return total


def forward_context(trainer: L.Trainer) -> AbstractContextManager[None]:
    """The precision that the module's own forward pass runs in."""
    return trainer.precision_plugin.forward_context()
