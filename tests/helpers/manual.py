"""Modules that optimise by hand."""

import torch
import torch.nn.functional as F

from helpers.modules import Late


class Manual(Late):
    """As ``Late``, by hand."""

    repeats = 1

    def __init__(self, **settings) -> None:
        super().__init__(**settings)
        self.automatic_optimization = False

    def training_step(self, batch, batch_idx: int) -> None:
        optimizers = self.optimizers()
        optimizers = optimizers if isinstance(optimizers, list) else [optimizers]
        for _ in range(self.repeats):
            loss = F.cross_entropy(self(batch), batch["label"])
            for optimizer in optimizers:
                optimizer.zero_grad()
            self.manual_backward(loss)
            for optimizer in optimizers:
                optimizer.step()


class OneForEach(Manual):
    """An optimiser an encoder and one for the head."""

    def configure_optimizers(self) -> list[torch.optim.Optimizer]:
        parts = (self.audio_encoder, self.video_encoder, self.head)
        return [torch.optim.SGD(part.parameters(), **self.sgd) for part in parts]
