"""InfoReg in the Lightning Trainer, by one callback: ``python examples/with_lightning.py``."""

import lightning.pytorch as L
import torch
from torch import Tensor

from inforeg_lightning import InfoRegCallback
from toy import EPOCHS, make_model, make_samples, show


class Module(L.LightningModule):
    """The model with its optimizer."""

    def __init__(self) -> None:
        super().__init__()
        self.model = make_model()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch."""
        return self.model(**batch)["loss"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain SGD."""
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


encoders = {"audio": "model.audio_encoder", "video": "model.video_encoder"}
inforeg = InfoRegCallback(encoders, head="model.head", target="labels")
trainer = L.Trainer(
    accelerator="cpu",
    devices=1,
    max_epochs=EPOCHS,
    callbacks=[inforeg],
    logger=False,
    enable_checkpointing=False,
    enable_progress_bar=False,
    enable_model_summary=False,
)
trainer.fit(Module(), torch.utils.data.DataLoader(make_samples(), batch_size=16))

show(inforeg.history)
