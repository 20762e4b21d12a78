"""The score of each modality in validation, from the same probe and without editing anything."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from inforeg_lightning.engine.probe.head import HeadCall
from inforeg_lightning.engine.scoring import StepScores

if TYPE_CHECKING:
    from inforeg_lightning.engine.engine import Engine


class Validation:
    """Scores of validation for an engine.

    Args:
        engine: Whose probe watches.
    """

    def __init__(self, engine: "Engine") -> None:
        self._engine = engine
        self._scores: StepScores | None = None
        self._target: Tensor | None = None
        self._present: Mapping[str, Tensor] = {}

    @property
    def is_open(self) -> bool:
        """Whether a validation is under way."""
        return self._scores is not None

    def begin(self) -> None:
        """Begin a validation."""
        engine = self._engine
        self._scores = StepScores(
            engine.modalities, engine.method.score, engine.ignore_index, required=False
        )
        engine.method.begin_validation()

    def begin_batch(self, target: Tensor | None, present: Mapping[str, Tensor]) -> None:
        """Watch the forward pass of a batch."""
        self._target, self._present = target, present
        if self._engine.probe is not None and target is not None:
            self._engine.probe.start(editing=False)

    def end_batch(self) -> None:
        """Add up the scores of a batch."""
        engine, target = self._engine, self._target
        self._target = None
        if engine.probe is None or target is None:
            return

        def look(call: HeadCall) -> Mapping[str, Tensor]:
            engine.method.validate(call, target)
            return call.unimodal()

        try:
            logits = engine.probe.evaluate(look)
            if logits is not None:
                self.add(logits, target)
        except ValueError as error:
            if engine.method.needs_validation:
                raise
            engine.tracker.warn_once("validation", f"validation is not scored: {error}")
        engine.probe.stop()
        self._present = {}

    def add(self, logits: Mapping[str, Tensor], target: Tensor) -> None:
        """Add the unimodal logits of a batch."""
        if self._scores is not None:
            self._scores.add(logits, target, self._present)

    def cancel(self) -> None:
        """Leave a validation that failed."""
        self._scores, self._target, self._present = None, None, {}
        if self._engine.probe is not None:
            self._engine.probe.stop()

    def end(self) -> dict[str, float]:
        """End a validation; all processes have to call it.

        Returns:
            Modality -> its score over all samples; without those that no sample has.
        """
        scores, self._scores = self._scores, None
        engine = self._engine
        engine.method.end_validation()
        device = next(iter(engine.tracker.encoders.values())).device
        if scores is None:
            return {}
        scores.add_loss(torch.ones((), dtype=torch.bool, device=device))
        scored = scores.over_processes(engine.processes)
        assert scored is not None
        found = zip(engine.modalities, scored.scores.tolist(), strict=True)
        return {modality: score for modality, score in found if score == score}
