"""PDMP: performance-dominant modality prioritization (arXiv 2604.05773)."""

from collections.abc import Mapping, Sequence

import torch

from inforeg_lightning.core.pdmp import pdmp_coefficients
from inforeg_lightning.core.window import Window
from inforeg_lightning.engine.book.tracker import Done, Step
from inforeg_lightning.engine.checks import check_number, shown
from inforeg_lightning.engine.encoder import gradients_of
from inforeg_lightning.engine.method import Method, WindowArgument
from inforeg_lightning.methods.ogm import scale

Performance = Mapping[str, float] | Sequence[float]
"""How well each modality does alone, by name or in the order of ``encoders``."""


class PDMP(Method):
    """Let the modality that is best alone lead (Wei, Luo, Zhu & Luo, 2026).

    See :class:`~inforeg_lightning.callbacks.PDMPCallback` for the equations, and for what
    ``history`` holds.

    Args:
        performance: How well each modality does alone; larger is better.
        gamma_p: Factor of the gradient of the best one, > 0.
        gamma_r: Factor of the gradients of all others, >= 0 and below ``gamma_p``.
        window: When it acts.

    Raises:
        ValueError: An argument is out of range, or ``performance`` names no single best modality.
        TypeError: An argument is of another kind than described.
    """

    name = "pdmp"
    quantities = ("coefficient",)
    needs_scores = False

    def __init__(
        self,
        performance: Performance,
        gamma_p: float,
        gamma_r: float,
        window: WindowArgument = "always",
    ) -> None:
        super().__init__(window)
        self.performance = performance
        self.gamma_p = check_number("gamma_p", gamma_p, 0, float("inf"), open_below=True)
        self.gamma_r = check_number("gamma_r", gamma_r, 0, float("inf"))
        if self.gamma_r >= self.gamma_p:
            raise ValueError(
                "`gamma_r` must be below `gamma_p`, so that the modality that is best alone leads, "
                f"but they are {gamma_r} and {gamma_p}"
            )
        self._factors: dict[str, float] = {}

    @property
    def settings(self) -> dict[str, object]:
        """Performances, factors and window."""
        return {
            "performance": self.performance,
            "gamma_p": self.gamma_p,
            "gamma_r": self.gamma_r,
            "window": self.window,
        }

    def make_window(self, modalities: tuple[str, ...]) -> Window:
        """The window; the best modality is found here, now that their names are known."""
        values = _by_modality(self.performance, modalities)
        factors = pdmp_coefficients(values, self.gamma_p, self.gamma_r)
        self._factors = dict(zip(modalities, factors, strict=True))
        return super().make_window(modalities)

    def edit(self, step: Step) -> Done:
        """Multiply the gradients of the encoders in their window by their factors."""
        one = torch.ones_like(next(iter(step.squared_norms.values())))
        used = dict.fromkeys(step.modalities, one)
        for modality, held in step.held.items():
            if step.in_window[modality]:
                factor = torch.full_like(one, self._factors[modality])
                used[modality] = torch.where(step.finite, factor, 1.0)
                scale(gradients_of(held), used[modality])
        return {"coefficient": used}


def _by_modality(performance: object, modalities: Sequence[str]) -> list[float]:
    named = performance
    if isinstance(performance, Sequence) and not isinstance(performance, str):
        named = dict(zip(modalities, performance, strict=False))
        named = named if len(performance) == len(modalities) else None
    if not isinstance(named, Mapping) or set(named) != set(modalities):
        raise ValueError(
            f"`performance` must say for each of {[*modalities]} how well it does alone, as a "
            f"mapping or a sequence, but is {shown(performance)}. Train each modality alone once, "
            "and give the accuracies in validation."
        )
    most = float("inf")
    return [check_number(f"performance[{m!r}]", named[m], -most, most) for m in modalities]
