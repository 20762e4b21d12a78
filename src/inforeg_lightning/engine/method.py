"""What a balancing method is to the engine: what it measures, and what it does to a step."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning.core.scores import ScoreFunction
from inforeg_lightning.core.window import Window, make_window, plain_range
from inforeg_lightning.engine.book.history import Entry
from inforeg_lightning.engine.book.state import Lifetime, Stateful
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.context import Context, Forward, HeadInputs
from inforeg_lightning.engine.trials import Trials
from inforeg_lightning.engine.unimodal_heads import HeadsArgument

WindowArgument = str | tuple[int, int | None] | Window
"""What a user may write for ``window``; see :func:`~inforeg_lightning.core.window.make_window`."""


class Method(Stateful):
    """Base of the methods: everything does nothing, and a method overrides what it needs.

    A method is constructed from its own arguments alone, and is attached to a training by the
    engine. What it keeps between batches is declared by
    :meth:`~inforeg_lightning.engine.book.state.Stateful.add_state`; the engine resets, saves and
    loads it.

    Args:
        window: When the method acts.
        score: ``"log_prob"``, ``"prob"``, ``"bce"``, ``"ordinal"``, ``"mse"`` or a callable
            ``(logits, target) -> per-sample score``.
    """

    name: ClassVar[str]
    """Under which the history is logged, and the name of its files."""
    quantities: ClassVar[tuple[str, ...]] = ()
    """What :meth:`edit` returns per modality, besides ``trace`` and ``score``."""
    sums: ClassVar[frozenset[str]] = frozenset()
    """Those of them, or ``"trace"``, that a period adds up; of all others it takes the mean."""
    needs_scores: ClassVar[bool] = True
    """Whether training without unimodal logits is an error."""
    scores_by_mean: ClassVar[bool] = True
    """Whether a score is the mean over the samples, not their sum."""
    edits_head: ClassVar[bool] = False
    """Whether :meth:`forward` is overridden; such a method needs ``head``."""
    replaces_features: ClassVar[bool] = False
    """Whether :meth:`features` is overridden; set ``edits_head`` too."""
    needs_validation: ClassVar[bool] = False
    """Whether training without validation is an error."""
    unimodal_heads: HeadsArgument | None = None
    """Of a method with unimodal losses: whose logits they are of, as the user writes it."""

    context: Context

    def __init__(self, window: WindowArgument, score: str | ScoreFunction = "log_prob") -> None:
        self.window = plain_range(window)
        self.score = score

    @property
    def settings(self) -> dict[str, object]:
        """What changes the course of training, by argument, for a checkpoint and for ``repr``."""
        return {"window": self.window, "score": self.score}

    @property
    def needs_trials(self) -> bool:
        """Whether it measures on copies of the model, for which the loop has to provide."""
        return False

    @property
    def variant(self) -> str:
        """What a checkpoint must agree in, for its traces and scores to be comparable."""
        return self.name

    def make_window(self, modalities: tuple[str, ...]) -> Window:
        """The window, once the modalities are known; checks that fit no other place are here."""
        return make_window(self.window, modalities=modalities)

    def check(self, model: nn.Module, optimizers: Sequence[Optimizer]) -> None:
        """Refuse a model or optimisers that the method cannot work with.

        Raises:
            ValueError: With what was found and what to do.
        """

    def attach(self, context: Context) -> None:
        """Begin to train, on the device of the model; what was loaded is moved there."""
        self.context = context

    def detach(self) -> None:
        """Let go of the model."""
        self.__dict__.pop("context", None)

    def is_due(self, epoch: int) -> bool:
        """Whether :meth:`measure` is to be called before an epoch, if ``needs_trials``."""
        return False

    def measure(self, trials: Trials, epoch: int) -> None:
        """Measure on copies of the model before an epoch."""

    def begin_batch(self, begins_period: bool) -> None:
        """Prepare for a (micro-)batch, whose period is open."""

    def features(self, inputs: HeadInputs) -> Mapping[str, Sequence[Tensor]] | None:
        """What the head is to see in a training step: modality -> its parts.

        Modalities that are left out keep theirs, and all do if it is ``None``. The scores of a step
        are of the features that were there before.
        """
        return None

    def forward(self, forward: Forward) -> Tensor:
        """What a training step goes on with in place of the output of its head."""
        return forward.output

    def unimodal_logits(self) -> Mapping[str, Tensor] | None:
        """Those of the forward pass just seen where the method has them already."""
        return None

    def see_loss(self, loss: Tensor) -> None:
        """Look at the training loss of a (micro-)batch, where the loop knows it.

        Args:
            loss: With its graph, before its backward pass; times the scales.
        """

    def before_backward(self, target: Tensor | None, finite: Tensor) -> None:
        """Act once the scores of a (micro-)batch are added, before its backward pass.

        Args:
            target: Of the batch, ``None`` if the head was not called.
            finite: Whether its loss is, shape ``()``, bool.
        """

    def edit(self, step: Step) -> Done:
        """Edit the gradients of a step in place; return ``quantities``."""
        return {}

    def after_scores(self) -> None:
        """Act once per optimiser step, after its scores and edits, also if it held no encoder."""

    def end_batch(self) -> None:
        """Let go of a (micro-)batch."""
        self.forget(Lifetime.BATCH)

    def end_period(self) -> None:
        """Act before a period is closed."""

    def describe_period(self, entry: Entry) -> None:
        """Add to the entry of a period that has just been closed."""

    def end_epoch(self) -> None:
        """Act at the end of an epoch, before its period is closed; may be called twice."""

    def begin_validation(self) -> None:
        """Begin a validation."""

    def validate(self, forward: Forward, unimodal: Mapping[str, Tensor]) -> None:
        """Look at a batch of validation, without graph, if it needs or reads validation.

        Args:
            forward: The head's call; what it returned for all features, in evaluation mode.
            unimodal: Modality that the batch has -> its unimodal logits.
        """

    def end_validation(self) -> None:
        """End a validation."""

    def validated(self, scores: Mapping[str, float]) -> None:
        """Take the scores of a validation that has ended, over all processes.

        Args:
            scores: Modality -> its score; without those that no sample has.
        """

    def __repr__(self) -> str:
        """The method as it would be written."""
        inside = ", ".join(f"{name}={value!r}" for name, value in self.settings.items())
        return f"{type(self).__name__}({inside})"
