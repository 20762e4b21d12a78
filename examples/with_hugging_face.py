"""InfoReg in the Hugging Face Trainer: ``python examples/with_hugging_face.py``."""

from tempfile import TemporaryDirectory

from transformers import Trainer, TrainingArguments

from inforeg_lightning.integrations.hugging_face import RegulatorCallback
from inforeg_lightning.methods import InfoReg
from toy import ENCODERS, EPOCHS, make_model, make_samples, show

inforeg = RegulatorCallback(ENCODERS, InfoReg(), head="head", planned_epochs=EPOCHS)

with TemporaryDirectory() as folder:
    trainer = Trainer(
        make_model(),
        TrainingArguments(
            folder,
            num_train_epochs=EPOCHS,
            per_device_train_batch_size=16,
            learning_rate=1e-2,
            use_cpu=True,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
        ),
        train_dataset=make_samples(),
        callbacks=[inforeg],
    )
    trainer.train()

show(inforeg.regulator.history)
