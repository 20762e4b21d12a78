"""InfoReg as the authors' published program has it, which differs from the paper."""

from collections.abc import Mapping

import torch
from torch import Tensor

from inforeg_lightning.core.fisher import mean_square
from inforeg_lightning.core.strength import official_strength
from inforeg_lightning.core.window import OfficialWindow, Window
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_number, shown
from inforeg_lightning.engine.context import Context
from inforeg_lightning.engine.encoder import gradients_of
from inforeg_lightning.methods.inforeg import InfoReg

_RELEASES = {"2025-11": (0.95, 0.1, 0.05), "2025-03": (0.95, 0.0, 0.04)}
"""Release -> strength of the gate, strength of all others, K."""


class OfficialInfoReg(InfoReg):
    """The published code's variant; see :meth:`~inforeg_lightning.InfoRegCallback.official`.

    Args:
        strength: Modality -> its factor, 0 or more; ``None`` for the release's.
        gate: The modality whose trace opens the window for all; ``None`` for the first.
        K: Threshold of the change of the moving average, in [0, 1); ``None`` for the release's.
        release: ``"2025-11"``, the release of November 2025, or ``"2025-03"``, that of March.

    Raises:
        ValueError: An argument is out of range.
        TypeError: An argument is of another kind than described.
    """

    sums = frozenset({"pull", "trace"})
    scores_by_mean = False

    def __init__(
        self,
        strength: Mapping[str, float] | None = None,
        gate: str | None = None,
        K: float | None = None,
        release: str = "2025-11",
    ) -> None:
        if release not in _RELEASES:
            raise ValueError(f"`release` must be one of {[*_RELEASES]}, but is {release!r}")
        if strength is not None and not isinstance(strength, Mapping):
            raise TypeError(
                "`strength` must map each modality to its factor, for example "
                f'{{"audio": 0.95, "video": 0.1}}, but is {shown(strength)}'
            )
        super().__init__(
            K=_RELEASES[release][2] if K is None else K, window="official", score="prob"
        )
        self.strength = None if strength is None else dict(strength)
        self.gate = gate
        self.release = release
        self._factors: list[float] = []

    @property
    def settings(self) -> dict[str, object]:
        """Strength, gate, K and release."""
        return {
            "strength": self.strength,
            "gate": self.gate,
            "K": self.K,
            "release": self.release,
        }

    @property
    def variant(self) -> str:
        """The published code's."""
        return "official"

    def make_window(self, modalities: tuple[str, ...]) -> Window:
        """The published code's window, on the trace of the gate."""
        gate = modalities[0] if self.gate is None else self.gate
        if gate not in modalities:
            raise ValueError(f"`gate` must be one of {[*modalities]}, but is {gate!r}")
        of_gate, of_others, _ = _RELEASES[self.release]
        given = self.strength
        if given is None:
            given = {m: of_gate if m == gate else of_others for m in modalities}
        if set(given) != set(modalities):
            raise ValueError(
                f"`strength` must hold one factor >= 0 for each of {[*modalities]}, but is {given}"
            )
        self._factors = [
            check_number(f"strength[{m!r}]", given[m], 0, float("inf")) for m in modalities
        ]
        return OfficialWindow(gate, self.K)

    def attach(self, context: Context) -> None:
        """Check that there are layers to take the trace over."""
        for modality, encoder in context.encoders.items():
            if not encoder.layer_weights:
                raise ValueError(
                    f"`encoders[{modality!r}]` has no Conv or Linear layer, over which the "
                    "published code takes its trace. Use InfoRegCallback(...) instead."
                )
        super().attach(context)

    def strengths(self, scores: Tensor) -> Tensor:
        """The factor times ``exp(tanh Δ)`` for the strongest modality only, shape ``(M,)``."""
        return official_strength(scores, self._factors)

    def edit(self, step: Step) -> Done:
        """Pull as the paper does, then take the published trace of what came of it."""
        done = super().edit(step)
        traces: dict[str, Tensor] = {}
        for modality, held in step.held.items():
            encoder = self.context.encoders[modality]
            layers = [p for p in held if id(p) in encoder.layer_weights]
            traces[modality] = mean_square(gradients_of(layers)) if layers else torch.zeros(())
        return {**done, "trace": traces}
