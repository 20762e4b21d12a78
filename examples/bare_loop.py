"""InfoReg in a bare PyTorch loop: ``python examples/bare_loop.py``."""

import torch

from inforeg_lightning import Regulator
from inforeg_lightning.methods import InfoReg
from toy import ENCODERS, EPOCHS, make_batches, make_model, show

model = make_model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
regulator = Regulator(model, optimizer, ENCODERS, InfoReg(), head="head", planned_epochs=EPOCHS)

for epoch in range(EPOCHS):
    regulator.begin_epoch(epoch)
    for batch in make_batches():
        with regulator.batch(batch["labels"]):
            loss = model(**batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    regulator.end_epoch()

show(regulator.history)
