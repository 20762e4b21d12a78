"""Every method, how tests construct it, and what it does not promise that the others do."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from helpers.modules import encoder_paths
from inforeg_lightning import InfoRegCallback
from inforeg_lightning.callbacks import OGMCallback, OGMGECallback
from inforeg_lightning.callbacks.method import MethodCallback


@dataclass(frozen=True)
class Method:
    """A method with settings under which it shows after a few steps.

    Attributes:
        of: Its class.
        settings: Arguments that differ from the defaults.
        draws: Draws noise modality by modality, so that their order matters.
        from_micro_batches: What it decides in the forward pass, it decides micro-batch by
            micro-batch: accumulation is then not the large batch.
    """

    of: type[MethodCallback]
    settings: Mapping[str, Any] = field(default_factory=dict)
    draws: bool = False
    from_micro_batches: bool = False

    def __call__(self, modalities: int = 2, **settings: Any) -> MethodCallback:
        given = {"encoders": encoder_paths(modalities), "head": "head", "window": "always"}
        return self.of(**given | dict(self.settings) | settings)

    @property
    def quantities(self) -> tuple[str, ...]:
        """What its history holds by modality."""
        return ("trace", "score", *self.of._quantities)

    @property
    def needs_head(self) -> bool:
        return self.of._edits_head

    def __str__(self) -> str:
        return self.of.__name__.removesuffix("Callback")


METHODS = [
    Method(InfoRegCallback),
    Method(OGMCallback, {"alpha": 0.5}),
    Method(OGMGECallback, {"alpha": 0.5}, draws=True),
]


def those(kept: Callable[[Method], bool]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("method", [m for m in METHODS if kept(m)], ids=str)


every_method = those(lambda method: True)
