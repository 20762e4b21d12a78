"""The score of each modality in validation, from the same probe and without editing anything."""

from collections.abc import Mapping

import torch
from torch import Tensor

from inforeg_lightning.engine.book.tracker import Tracker
from inforeg_lightning.engine.context import Forward
from inforeg_lightning.engine.distributed import Processes
from inforeg_lightning.engine.method import Method
from inforeg_lightning.engine.probe.head import HeadCall
from inforeg_lightning.engine.probe.probe import UnimodalProbe
from inforeg_lightning.engine.scoring import StepScores
from inforeg_lightning.engine.unimodal_heads import UnimodalHeads


class Validation:
    """Scores of validation.

    Args:
        method: That may look at the head too.
        tracker: Its book.
        ignore_index: The target that counts nowhere.
        heads: Whose logits are scored.
    """

    def __init__(
        self, method: Method, tracker: Tracker, ignore_index: float, heads: UnimodalHeads
    ) -> None:
        self._method = method
        self._tracker = tracker
        self._ignore_index = ignore_index
        self._heads = heads
        self._probe: UnimodalProbe | None = None
        self._scores: StepScores | None = None
        self._target: Tensor | None = None
        self._present: Mapping[str, Tensor] = {}

    @property
    def is_open(self) -> bool:
        """Whether a validation is under way."""
        return self._scores is not None

    def begin(self) -> None:
        """Begin a validation."""
        self._scores = StepScores(
            self._tracker.modalities, self._method.score, self._ignore_index, required=False
        )
        self._method.begin_validation()

    def begin_batch(
        self, probe: UnimodalProbe | None, target: Tensor | None, present: Mapping[str, Tensor]
    ) -> None:
        """Watch the forward pass of a batch."""
        self._probe, self._target, self._present = probe, target, present
        if probe is not None and target is not None:
            probe.start(editing=False)

    def end_batch(self) -> None:
        """Add up the scores of a batch."""
        probe, target = self._probe, self._target
        self._probe = self._target = None
        if probe is None or target is None:
            return

        def look(call: HeadCall) -> Mapping[str, Tensor]:
            reads = type(self._method).validate is not Method.validate
            if not (reads or self._heads.modules):
                return call.unimodal()
            # With None: what belongs to no encoder is part of what the head returned.
            output = call.only((*self._tracker.modalities, None))
            forward = Forward(call, output, target, self._ignore_index, self._present)
            unimodal = self._heads.logits(forward) if self._heads.modules else call.unimodal()
            self._heads.last = None
            if reads:
                self._method.validate(forward, unimodal)
            return unimodal

        try:
            logits = probe.evaluate(look)
            if logits is not None:
                self.add(logits, target)
        except ValueError as error:
            if self._method.needs_validation:
                raise
            self._tracker.warn_once("validation", f"validation is not scored: {error}")
        probe.stop()
        self._present = {}

    def add(self, logits: Mapping[str, Tensor], target: Tensor) -> None:
        """Add the unimodal logits of a batch."""
        if self._scores is not None:
            self._scores.add(logits, target, self._present)

    def cancel(self) -> None:
        """Leave a validation that failed."""
        if self._probe is not None:
            self._probe.stop()
        self._scores = self._probe = self._target = None
        self._present = {}

    def end(self, processes: Processes) -> dict[str, float]:
        """End a validation; all processes have to call it.

        Args:
            processes: That validate together.

        Returns:
            Modality -> its score over all samples; without those that no sample has.
        """
        scores, self._scores = self._scores, None
        self._method.end_validation()
        if scores is None:
            return {}
        scores.add_loss(torch.ones((), dtype=torch.bool, device=self._tracker.device))
        scored = scores.over_processes(processes)
        assert scored is not None
        found = zip(self._tracker.modalities, scored.scores.tolist(), strict=True)
        known = {modality: score for modality, score in found if score == score}
        self._method.validated(known)
        return known
