"""The paper's window for one modality alone, to see what regulating the other does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inforeg_lightning.core.window import PaperWindow


@dataclass(frozen=True)
class OnlyFor:
    """The paper's window of one modality; that of every other never opens.

    Args:
        modality: The one that may be regulated.
        K: Threshold of the relative change, as of the paper's window.
    """

    modality: str
    K: float = 0.04

    def __call__(self, traces: Mapping[str, Sequence[float]]) -> dict[str, bool]:
        """Say for each modality whether the next period is in its window."""
        found = PaperWindow(self.K)(traces)
        return {modality: found[modality] and modality == self.modality for modality in traces}
