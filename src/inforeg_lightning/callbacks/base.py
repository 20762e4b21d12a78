"""What the methods share: finding encoders and head, and a score of each modality every step."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.utilities.model_helpers import is_overridden
from torch import Tensor, nn

from inforeg_lightning.callbacks.checks import (
    check_encoders,
    check_optimizers,
    check_parameters,
    check_strategy,
    resolve,
)
from inforeg_lightning.callbacks.unimodal import Target, UnimodalProbe, find_target
from inforeg_lightning.core.scores import (
    ScoreFunction,
    at_least_float32,
    log_probability,
    probability,
)

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

    _batch_target: Tensor | None
    _reported: tuple[Mapping[str, Tensor], Tensor] | None
    _score_sums: Tensor | None
    _scores: Tensor | None
    _finite: Tensor | None
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
        self.head = head
        self.target = target
        self._takes_classes = not callable(score)
        self._score = score if callable(score) else _SCORES[score]
        self._reduce_score_by_mean = True
        self._probe: UnimodalProbe | None = None
        self._modules: dict[str, list[nn.Module]] = {}
        self._forget_batch()
        self._checked_logits = False

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Resolve the paths and register the hooks; later is too late for a compiled module."""
        if stage != "fit":
            return
        check_strategy(trainer)
        self._close_probe()
        self._checked_logits = False
        try:
            self._find_modules(trainer, pl_module)
        except ValueError:
            # Modules made in `configure_model` do not exist yet: they are looked for again below.
            if not is_overridden("configure_model", pl_module):
                raise
            self._modules = {}

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Find modules that ``configure_model`` has made; check the optimisers."""
        check_optimizers(trainer)
        if not self._modules:
            self._find_modules(trainer, pl_module)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Remove the hooks."""
        if stage == "fit":
            self._close_probe()

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
        if self._reported is None and self._probe is not None:
            logits = self._probe.logits(_forward_context(trainer))
            if logits is not None and self._batch_target is not None:
                self._reported = (logits, self._batch_target)
        if self._reported is not None:
            if self._stepped:  # a second forward pass of a manually optimised batch
                self._forget_step()
            self._add_scores(*self._reported)
            self._reported = None
        finite = torch.isfinite(loss.detach()).all()
        self._finite = finite if self._finite is None else self._finite & finite
        self._scores = None
        if self._score_sums is None:
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
        self._reported = None

    def receive(self, logits: Mapping[str, Tensor], target: Tensor) -> None:
        """Take the unimodal logits of a batch; see :func:`report_unimodal`."""
        if set(logits) != set(self.modalities):
            raise ValueError(
                f"`report_unimodal` got logits of {sorted(logits)}, but {type(self).__name__} has "
                f"encoders of {sorted(self.modalities)}. Report every modality by the same name."
            )
        self._reported = ({m: logits[m].detach() for m in self.modalities}, target)

    def _step_scores(self, trainer: L.Trainer) -> Tensor:
        """The score of each modality over the step's global batch, shape ``(M,)``."""
        if self._scores is None:
            assert self._score_sums is not None
            assert self._finite is not None
            # One process's infinite loss may leave every gradient finite: all must hear of it.
            infinite = (~self._finite).to(self._score_sums).reshape(1)
            sums = torch.cat([self._score_sums, infinite])
            total = trainer.strategy.reduce(sums, reduce_op="sum")
            assert isinstance(total, Tensor)
            *_, samples, infinite = total.unbind()
            self._scores = total[:-2] / samples if self._reduce_score_by_mean else total[:-2]
            self._finite = infinite == 0
        return self._scores

    def _step_is_finite(self) -> Tensor:
        """Whether every loss and score of the step is finite; shape ``()``, bool."""
        assert self._finite is not None
        assert self._scores is not None
        return self._finite & torch.isfinite(self._scores).all()

    def _add_scores(self, logits: Mapping[str, Tensor], target: Tensor) -> None:
        if not self._checked_logits:
            self._check_logits(logits, target)
            self._checked_logits = True
        with torch.no_grad():
            scores = [self._score(logits[modality], target) for modality in self.modalities]
            # A half-precision sum over a batch would lose small gaps, or overflow.
            sums = torch.stack([at_least_float32(score).sum() for score in scores])
            sums = torch.cat([sums, sums.new_full((1,), len(scores[0]))])
        self._score_sums = sums if self._score_sums is None else self._score_sums + sums

    def _check_logits(self, logits: Mapping[str, Tensor], target: Tensor) -> None:
        for modality, value in logits.items():
            if self._takes_classes and (
                value.dim() != 2
                or target.is_floating_point()
                or tuple(target.shape) != (len(value),)
            ):
                raise ValueError(
                    f"the logits of {modality} have shape {tuple(value.shape)} and the target has "
                    f"shape {tuple(target.shape)} and dtype {target.dtype}, but the score needs "
                    "(B, C) and integer (B,). Pass a callable `(logits, target) -> per-sample "
                    "score` as `score=` for other tasks."
                )
            score = self._score(value, target)
            if score.dim() != 1:
                raise ValueError(
                    f"`score` must return one value a sample, shape (B,), but for {modality} it "
                    f"returned shape {tuple(score.shape)}"
                )

    def _forget_batch(self) -> None:
        self._batch_target = None
        self._reported = None
        self._forget_step()

    def _forget_step(self) -> None:
        self._score_sums = None
        self._scores = None
        self._finite = None
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
            self._probe = UnimodalProbe(modules, head)

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

    Raises:
        ValueError: The names are not those of the callback's encoders.

    Example::

        def training_step(self, batch, batch_idx):
            logits_a, logits_v, fused = self(batch["audio"], batch["video"])
            report_unimodal(self, {"audio": logits_a, "video": logits_v}, batch["label"])
            return F.cross_entropy(fused, batch["label"])
    """
    try:
        trainer = module.trainer
    except RuntimeError:  # not attached to a Trainer
        return
    if trainer.training:
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, UnimodalCallback):
                callback.receive(logits, target)


def _forward_context(trainer: L.Trainer) -> AbstractContextManager[None]:
    return trainer.precision_plugin.forward_context()
