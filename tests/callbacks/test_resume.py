"""A resumed run is the uninterrupted one: every weight, the history and the windows, to the bit."""

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

from helpers.comparison import assert_opens_and_closes
from helpers.modules import Late, assert_same_weights, encoder_paths, make_batches, snapshot
from helpers.regulated import EPOCHS, fit, inforeg
from helpers.resuming import Inside, Resumable, train
from inforeg_lightning import InfoRegCallback

pytestmark = [
    # Lightning's, when the Trainer that goes on has no ModelCheckpoint.
    pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`"),
    # torchdata 0.11 calls what torch deprecates.
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated"),
]


class Validated(Late):
    def validation_step(self, batch, batch_idx: int) -> None:
        self(batch)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, batch_size=None)


def assert_resumes(tmp_path, make, saving, checkpoints, **settings) -> None:
    """Run whole with ``saving``; resume from every checkpoint it wrote."""
    trainer_settings = {"enable_checkpointing": True, "num_sanity_val_steps": 0}
    whole = make(), inforeg(**settings)
    fit(*whole, saving, **trainer_settings)
    found = sorted(tmp_path.glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    assert len(found) == checkpoints
    if settings.get("window") is None:
        assert_opens_and_closes(whole[1].history)
    for path in found[:-1]:
        part = make(), inforeg(**settings)
        fit(*part, ckpt_path=path, num_sanity_val_steps=0)
        assert part[1].history == whole[1].history, path.name
        assert_same_weights(snapshot(part[0]), snapshot(whole[0]))


@pytest.mark.parametrize("settings", [{}, {"period": 3, "window": (1, 5)}, {"period": 4}])
def test_from_the_end_of_an_epoch(tmp_path, settings):
    saving = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    assert_resumes(tmp_path, Late, saving, EPOCHS, **settings)


@pytest.mark.parametrize("settings", [{}, {"period": 3, "window": (1, 5)}])
def test_from_the_validation_after_an_epochs_last_batch(tmp_path, settings):
    saving = ModelCheckpoint(tmp_path, "{epoch}", save_top_k=-1, save_on_train_epoch_end=False)
    assert_resumes(tmp_path, Validated, saving, EPOCHS, **settings)


@pytest.mark.parametrize("settings", [{}, {"window": "always"}, {"period": 4}])
def test_from_inside_an_epoch(tmp_path, settings):
    assert_resumes(tmp_path, Resumable, Inside(tmp_path, every=4), 6, **settings)


def states(path) -> dict:
    return torch.load(path, weights_only=True)


def sized(tmp_path, steps, callback, name) -> int:
    saving = ModelCheckpoint(tmp_path / name, "{step}", save_top_k=-1, every_n_train_steps=1)
    module = Late(3, make_batches(3))
    fit(module, callback, saving, enable_checkpointing=True, max_steps=steps, max_epochs=50)
    (path,) = (tmp_path / name).glob(f"step={steps}.ckpt")
    states(path)  # loads with weights_only=True
    return path.stat().st_size


def regulated(**settings) -> InfoRegCallback:
    return InfoRegCallback(encoder_paths(3), head="head", **settings)


def test_a_checkpoint_at_the_end_of_an_epoch_grows_by_less_than_ten_kilobytes(tmp_path):
    with_it = sized(tmp_path, 80, regulated(window="always"), "with")
    assert with_it - sized(tmp_path, 80, None, "without") < 10_000


def test_a_checkpoint_inside_an_epoch_grows_by_the_anchors(tmp_path):
    with_it = sized(tmp_path, 6, regulated(window="always"), "with")
    shut = sized(tmp_path, 6, regulated(window="never"), "shut")
    module = Late(3)
    encoders = [getattr(module, path) for path in encoder_paths(3).values()]
    tensors = [p for encoder in encoders for p in encoder.parameters()]
    anchors = sum(p.numel() * p.element_size() for p in tensors)
    # A file of torch's has some 200 bytes of names and padding for every tensor: of each parameter
    # there are its anchor, and a sample of it as it was, without the pull, and of its momentum.
    sampled = 3 * sum(8 * p.shape[0] for p in tensors)
    assert anchors <= with_it - shut <= anchors + sampled + 4 * 300 * len(tensors)


def saved(tmp_path, callback) -> str:
    trainer = fit(Late(), callback, max_epochs=2)["trainer"]
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    return tmp_path / "a.ckpt"


def test_a_checkpoint_of_another_version_is_refused(tmp_path):
    path = saved(tmp_path, inforeg())
    checkpoint = states(path)
    checkpoint["callbacks"]["InfoRegCallback"]["version"] = 99
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match="has version 99, this one has"):
        fit(Late(), inforeg(), ckpt_path=path)


def test_anchors_of_another_module_are_refused(tmp_path):
    train(tmp_path, epochs=1, window="always")
    path = tmp_path / "step=3.ckpt"
    checkpoint = states(path)
    anchors = checkpoint["callbacks"]["InfoRegCallback"]["method"]["anchors"]["audio"]
    anchors[0] = anchors[0].T
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match=r"anchor 0 has shape \(6, 8\)"):
        fit(Resumable(), inforeg(window="always"), ckpt_path=path)
