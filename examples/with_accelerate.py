"""InfoReg with Hugging Face Accelerate, accumulating: ``python examples/with_accelerate.py``."""

import torch
from accelerate import Accelerator

from inforeg_lightning import Regulator
from inforeg_lightning.methods import InfoReg
from toy import ENCODERS, EPOCHS, make_batches, make_model, show

accelerator = Accelerator(cpu=True, gradient_accumulation_steps=2)
model = make_model()
optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
model, optimizer = accelerator.prepare(model, optimizer)
regulator = Regulator(model, optimizer, ENCODERS, InfoReg(), head="head", planned_epochs=EPOCHS)

for epoch in range(EPOCHS):
    regulator.begin_epoch(epoch)
    for batch in make_batches(size=8):
        with accelerator.accumulate(model):
            with regulator.batch(batch["labels"]):
                loss = model(**batch)["loss"]
            accelerator.backward(loss)
            optimizer.step()
            optimizer.zero_grad()
    regulator.end_epoch()

show(regulator.history)
