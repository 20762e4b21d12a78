"""What a user reads of a training: the same of a callback and of a Regulator."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from inforeg_lightning.engine.engine import Engine
from inforeg_lightning.engine.method import Method
from inforeg_lightning.engine.summary import history_frame, plot_history


class WithHistory:
    """Base of what holds an engine and shows its history."""

    engine: Engine

    @property
    def method(self) -> Method:
        """What is measured and done."""
        return self.engine.method

    @property
    def modalities(self) -> tuple[str, ...]:
        """Their names, in the order of ``encoders``."""
        return self.engine.modalities

    @property
    def unimodal_heads(self) -> dict[str, nn.Module]:
        """Modality -> its unimodal head, once there are any; empty for ``"shared"``.

        They are no part of the model's weights, nor of its checkpoints' ``state_dict``.
        """
        return dict(self.engine.heads.modules)

    @property
    def history(self) -> list[dict[str, Any]]:
        """One plain dict per period that has ended; its keys are in the method's callback."""
        self._bring_history_up_to_date()
        return self.engine.tracker.history

    def plot(self, quantity: str = "trace") -> Any:
        """The figure of the README: a quantity per modality and period, windows shaded.

        Args:
            quantity: Of the history.

        Returns:
            A ``matplotlib.figure.Figure``.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: The history is empty, or has no such quantity.
        """
        return plot_history(self.history, self.modalities, quantity)

    def frame(self) -> Any:
        """The history as a tidy ``pandas.DataFrame``: a row per period and modality.

        Raises:
            ImportError: pandas is not installed.
        """
        return history_frame(self.history)

    def _bring_history_up_to_date(self) -> None:
        """Take in what has been trained and is not in the history yet."""

    def _shown_paths(self) -> Mapping[str, Any]:
        """Modality -> its path, or its paths, as a user would write them."""
        return {m: p[0] if len(p) == 1 else [*p] for m, p in self.engine.paths.items()}
