"""Record a short training of each variant of InfoReg on AV-Digits, for ``test_recorded.py``.

The settings are those of ``conf/experiment/av_digits.yaml`` but for the number of epochs, through
the library alone: in float32, whose last bit is another on another processor and decides after
three epochs about the second digit. The test compares where training *without* a callback gives
what is recorded, and skips elsewhere. ``recorded_av_digits.json`` is written by::

    PYTHONPATH=src:tests python tests/methods/record_av_digits.py
"""

import logging
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch

from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback
from inforeg_lightning.data import AVDigitsDataModule
from inforeg_lightning.models import ConvEncoder, LateFusionClassifier
from methods.record import digest, write

RECORD = Path(__file__).with_name("recorded_av_digits.json")
ENCODERS = {"audio": "encoders.audio", "image": "encoders.image"}
EPOCHS = 3
"""One more than two, as the paper's window opens in the third at the earliest."""

CASES: dict[str, Callable[[], InfoRegCallback | None]] = {
    "without a callback": lambda: None,
    "joint": partial(InfoRegCallback, ENCODERS, head="head", window="never"),
    "inforeg": partial(InfoRegCallback, ENCODERS, head="head"),
    # Within few epochs, a window of steps both opens and closes.
    "inforeg, period of steps": partial(InfoRegCallback, ENCODERS, head="head", period=10),
    "inforeg, adaptive window": partial(InfoRegCallback, ENCODERS, head="head", window="adaptive"),
    "official": partial(InfoRegCallback.official, ENCODERS, head="head"),
}


def train(case: str, root: Path) -> dict[str, Any]:
    """Train one case with seed 0.

    Args:
        case: A key of ``CASES``.
        root: Folder of the data, which are made there if they are not yet.

    Returns:
        ``history``, ``metrics`` of the last epoch's weights on the validation and test split, and
        ``weights`` as in ``record.py``.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        data = AVDigitsDataModule(root=root, seed=0)
        model = LateFusionClassifier(
            {"audio": ConvEncoder(), "image": ConvEncoder(widths=[8, 32, 64], pool=True)},
            num_classes=10,
            lr=0.02,
            step_size=15,
        )
        callback = CASES[case]()
        callbacks = [] if callback is None else [callback]
        trainer = quiet_trainer(root, callbacks=callbacks, max_epochs=EPOCHS)
        trainer.fit(model, datamodule=data)
    history = [] if callback is None else callback.history
    judge = quiet_trainer(root)
    val = judge.validate(model, datamodule=data, verbose=False)[0]
    test = judge.test(model, datamodule=data, verbose=False)[0]
    return {"history": history, "metrics": {**val, **test}, "weights": digest(model)}


def main() -> None:
    """Write the record to the path given, or over the one that is committed."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as root:
        record = {case: train(case, Path(root)) for case in CASES}
    write(record, Path(sys.argv[1]) if len(sys.argv) > 1 else RECORD)


if __name__ == "__main__":
    main()
