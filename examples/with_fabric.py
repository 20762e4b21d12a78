"""InfoReg with Lightning Fabric: ``python examples/with_fabric.py``."""

import torch
from lightning.fabric import Fabric

from inforeg_lightning import Regulator
from inforeg_lightning.methods import InfoReg
from toy import ENCODERS, EPOCHS, make_batches, make_model, show

fabric = Fabric(accelerator="cpu", devices=1)
model = make_model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
model, optimizer = fabric.setup(model, optimizer)
regulator = Regulator(model, optimizer, ENCODERS, InfoReg(), head="head", planned_epochs=EPOCHS)

for epoch in range(EPOCHS):
    regulator.begin_epoch(epoch)
    for batch in make_batches():
        with regulator.batch(batch["labels"]):
            loss = model(**batch)["loss"]
        fabric.backward(loss)
        fabric.clip_gradients(model, optimizer, max_norm=5.0)
        optimizer.step()
        optimizer.zero_grad()
    regulator.end_epoch()

show(regulator.history)
