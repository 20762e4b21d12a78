"""A Trainer and a module of ``lightning.pytorch`` or of ``pytorch_lightning``: the same."""

import importlib
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from helpers.loops import SetUp, make_callback
from helpers.modules import assert_same_weights, snapshot
from inforeg_lightning.callbacks import MSLRCallback, OGMCallback

NAMES = ("lightning.pytorch", "pytorch_lightning")
both = pytest.mark.parametrize("name", NAMES)


def namespace(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the import, and none of ours
        return importlib.import_module(name)


def make_module(pl: Any, set_up: SetUp) -> Any:
    class Module(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = set_up.net()
            if set_up.reports:
                self.net.reports_for = [self]
            self.epoch_weights: list = []

        def training_step(self, batch, batch_idx):
            return self.net(**batch)["loss"]

        def validation_step(self, batch, batch_idx):
            self.net(**batch)

        def configure_optimizers(self):
            return set_up.sgd(self.net)

        def train_dataloader(self):
            return torch.utils.data.DataLoader(set_up.batches(), batch_size=None)

        val_dataloader = train_dataloader

        def on_train_epoch_end(self):
            self.epoch_weights.append(snapshot(self.net))

    return Module()


def trainer(pl: Any, folder: Path, **settings: Any) -> Any:
    defaults = {
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
        "num_sanity_val_steps": 0,
    }
    return pl.Trainer(**defaults | settings)


def train(name: str, set_up: SetUp, folder: Path, callback: Any = None, **settings: Any) -> Any:
    pl = namespace(name)
    module = make_module(pl, set_up)
    callback = callback or make_callback(set_up)
    settings = {"max_epochs": set_up.epochs} | settings
    ckpt_path = settings.pop("ckpt_path", None)
    with_it = trainer(pl, folder, callbacks=[callback], **settings)
    with_it.fit(module, ckpt_path=ckpt_path)
    return module.epoch_weights, callback.history, with_it


SET_UPS = {
    "paper": SetUp("paper"),
    "official": SetUp("official", epochs=7),
    "ogm": SetUp("ogm", accumulate=2),
    "by steps": SetUp("always", period=4),
    "reported": SetUp("always", reports=True),
    "perceptron": SetUp("always", modalities=3, linear=False),
}


@pytest.mark.parametrize("set_up", SET_UPS.values(), ids=SET_UPS)
def test_training_is_the_same_to_the_bit(set_up, tmp_path):
    settings = {"accumulate_grad_batches": set_up.accumulate}
    ours, theirs = (train(name, set_up, tmp_path, **settings) for name in NAMES)
    assert len(ours[0]) == set_up.epochs
    for mine, other in zip(ours[0], theirs[0], strict=True):
        assert_same_weights(mine, other)
    assert ours[1] == theirs[1]


@both
@pytest.mark.parametrize("period", ["epoch", 4])
def test_a_resumed_run_is_the_uninterrupted_one(name, period, tmp_path):
    set_up = SetUp("always", period=period, epochs=4)
    weights, history, _ = train(name, set_up, tmp_path)
    _, _, first = train(name, set_up, tmp_path, max_epochs=2)
    first.save_checkpoint(tmp_path / "cut.ckpt")
    torch.load(tmp_path / "cut.ckpt", weights_only=True)
    again, resumed, _ = train(name, set_up, tmp_path, ckpt_path=tmp_path / "cut.ckpt")
    assert_same_weights(again[-1], weights[-1])
    assert resumed == history


def test_a_checkpoint_of_one_is_resumed_in_the_other(tmp_path):
    set_up = SetUp("always", epochs=4)
    weights, history, _ = train(NAMES[0], set_up, tmp_path)
    _, _, first = train(NAMES[0], set_up, tmp_path, max_epochs=2)
    first.save_checkpoint(tmp_path / "cut.ckpt")
    again, resumed, _ = train(NAMES[1], set_up, tmp_path, ckpt_path=tmp_path / "cut.ckpt")
    assert_same_weights(again[-1], weights[-1])
    assert resumed == history


@both
def test_validation_scores_are_logged(name, tmp_path):
    set_up = SetUp("always", epochs=2)
    _, _, trained = train(name, set_up, tmp_path)
    logged = trained.callback_metrics
    module = trained.lightning_module
    batches = set_up.batches()
    with torch.no_grad():
        z = torch.cat([module.net.audio_encoder(batch["audio"]) for batch in batches])
        logits = z @ module.net.head.weight[:, :5].T + module.net.head.bias / 2
    expected = -F.cross_entropy(logits, torch.cat([batch["labels"] for batch in batches]))
    assert logged["val/inforeg/score/audio"].item() == pytest.approx(expected.item(), rel=1e-6)
    assert "val/inforeg/score/video" in logged
    assert "inforeg/trace/audio" in logged


@both
@pytest.mark.parametrize("strategy", ["FSDPStrategy", "DeepSpeedStrategy"])
def test_strategies_that_hide_gradients_are_refused(name, strategy, tmp_path):
    pl = namespace(name)
    found = importlib.import_module(f"{name}.strategies")
    # Only its class is asked for: constructed, it wants GPUs or a package.
    named = getattr(found, strategy)
    hidden = type(strategy, (found.SingleDeviceStrategy,), {})
    assert named.__name__ == hidden.__name__
    set_up = SetUp("always")
    refused = trainer(pl, tmp_path, callbacks=[make_callback(set_up)], max_epochs=1)
    refused._accelerator_connector.strategy = named.__new__(named)
    with pytest.raises(ValueError, match=rf"`Trainer\(strategy=\.\.\.\)` is {strategy}"):
        make_callback(set_up).setup(refused, make_module(pl, set_up), "fit")


@both
def test_two_methods_on_a_trainer_are_refused(name, tmp_path):
    set_up = SetUp("always")
    callbacks = [make_callback(set_up), OGMCallback(set_up.paths("net."), "net.head")]
    both_of_them = trainer(namespace(name), tmp_path, callbacks=callbacks, max_epochs=1)
    with pytest.raises(ValueError, match=r"InfoRegCallback and OGMCallback"):
        both_of_them.fit(make_module(namespace(name), set_up))


@both
def test_an_encoder_is_unfrozen_by_a_callback(name, tmp_path):
    pl = namespace(name)
    set_up = SetUp("always", epochs=2)
    base = importlib.import_module(f"{name}.callbacks").BaseFinetuning

    class Unfreeze(base):
        def freeze_before_training(self, module):
            self.freeze([module.net.video_encoder, module.net.audio_encoder])

        def finetune_function(self, module, epoch, optimizer):
            if epoch == 1:
                for encoder in (module.net.video_encoder, module.net.audio_encoder):
                    self.make_trainable(encoder)

    inforeg = make_callback(set_up)
    with_both = trainer(pl, tmp_path, callbacks=[Unfreeze(), inforeg], max_epochs=2)
    with_both.fit(make_module(pl, set_up))
    assert inforeg.history[1]["trace"]["video"] > 0


@both
def test_rates_are_asked_of_the_trainer(name, tmp_path):
    set_up = SetUp("always", epochs=1)
    asked = []

    def rates(of):
        asked.append(of)
        return {"audio": 0.5}

    callback = MSLRCallback(set_up.paths("net."), "net.head", target="labels", rates=rates)
    _, history, trained = train(name, set_up, tmp_path, callback)
    assert asked == [trained]
    assert history[0]["rate"] == {"audio": 0.5, "video": 1.0}


COMMAND_LINE = """
import importlib, os, sys
os.environ["JSONARGPARSE_DEPRECATION_WARNINGS"] = "off"
pl = importlib.import_module(sys.argv.pop(1))
cli = importlib.import_module(pl.__name__ + ".cli")

class Module(pl.LightningModule):
    pass

made = cli.LightningCLI(Module, run=False, save_config_callback=None)
found = [each for each in made.trainer.callbacks if type(each).__name__ == "InfoRegCallback"]
assert [each.method.beta for each in found] == [0.5], found
assert isinstance(found[0], pl.Callback)
"""


@both
def test_the_command_line_constructs_it(name):
    """In a process of its own, whose program has imported one of the two only."""
    arguments = [
        "--trainer.accelerator=cpu",
        "--trainer.logger=false",
        "--trainer.enable_checkpointing=false",
        "--trainer.callbacks+=inforeg_lightning.InfoRegCallback",
        "--trainer.callbacks.encoders={audio: audio_encoder, video: video_encoder}",
        "--trainer.callbacks.beta=0.5",
    ]
    done = subprocess.run(
        [sys.executable, "-c", COMMAND_LINE, name, *arguments],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("first", NAMES)
def test_a_callback_is_one_of_both_where_both_are_imported(first):
    program = f"""
import importlib
for name in sorted({NAMES!r}, key=lambda name: name != {first!r}):
    importlib.import_module(name)
import lightning.pytorch, pytorch_lightning
from inforeg_lightning import InfoRegCallback
assert issubclass(InfoRegCallback, lightning.pytorch.Callback)
assert issubclass(InfoRegCallback, pytorch_lightning.Callback)
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)


def test_where_one_is_imported_the_other_is_not():
    program = """
import sys, pytorch_lightning
from inforeg_lightning import InfoRegCallback
assert issubclass(InfoRegCallback, pytorch_lightning.Callback)
assert "lightning" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
