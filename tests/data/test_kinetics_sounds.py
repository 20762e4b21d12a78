import numpy as np
import pytest
import torch

from inforeg_lightning.data import KineticsSoundsDataModule
from inforeg_lightning.data.store import StoreWriter


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """Two clips of each of nine videos of three classes; frames are grey, by their number."""
    path = tmp_path_factory.mktemp("kinetics") / "store"
    with StoreWriter(path, {"data": "kinetics_sounds"}) as writer:
        for video in range(9):
            for start in (10, 50):
                number = 2 * video + (start == 50)
                count = 3 if number == 4 else 10
                levels = (10 * np.arange(count, dtype=np.uint8))[:, None, None, None]
                # Upright and lying clips, as people film.
                shape = (32, 24) if video % 2 else (24, 32)
                frames = np.ascontiguousarray(np.broadcast_to(levels, (count, *shape, 3)))
                audio = np.arange(128)[:, None] + np.arange(1024) / 1024
                split = "test" if video % 3 == 2 else "train"
                name = f"--v{video}_{start:06d}_{start + 10:06d}"
                writer.add(name, video % 3 * 15, frames, audio, f"--v{video}", split)
    return path


@pytest.fixture
def data(path):
    data = KineticsSoundsDataModule(path, num_workers=0, val_share=0.3, split="group")
    data.setup()
    return data


def test_batches_are_those_of_the_published_loader(data):
    raw = next(iter(data.train_dataloader()))
    # Upright and lying frames share a batch.
    assert tuple(raw["frames"].shape[2:]) == (32, 32, 3)
    batch = data.on_after_batch_transfer(raw, 0)
    assert tuple(batch["audio"].shape[1:]) == data.shapes["audio"] == (1, 1024, 128)
    assert tuple(batch["video"].shape[1:]) == data.shapes["video"] == (3, 3, 224, 224)
    # Time first: from row to row little happens, from column to column a whole band.
    assert batch["audio"][0, 0, 0, 5] == pytest.approx(5, abs=1e-2)
    assert batch["audio"][0, 0, 1023, 5] == pytest.approx(6, abs=1e-2)


def test_training_takes_a_frame_of_each_third_and_evaluation_its_middle(data):
    def levels(loader):
        # Rows out of a frame's box are zeros.
        clips = torch.cat([batch["frames"].amax((2, 3, 4)) for batch in loader])
        return (clips // 10).tolist()

    seen = []
    for epoch in range(10):
        loader = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        seen += levels(loader)
    for third, frames in zip(
        zip(*seen, strict=True), ({0, 1, 2}, {3, 4, 5}, {6, 7, 8, 9}), strict=True
    ):
        assert set(third) == frames
    assert levels(data.test_dataloader()) == [[1, 5, 8]] * len(data.split.rows["test"])


def test_clips_of_three_frames_are_dropped_and_named(data):
    assert data.dropped == ("--v2_000010_000020",)
    assert sum(map(len, data.split.rows.values())) == 17
    assert "1 dropped, fewer than 4 frames: --v2_000010_000020" in data.table()


def test_clips_of_one_video_are_kept_together(data, path):
    from inforeg_lightning.data.store import Store

    groups = Store(path).groups
    videos = [set(groups[rows]) for rows in data.split.rows.values()]
    assert sum(map(len, videos)) == len(set().union(*videos)) == 9


def test_classes_are_the_thirty_one(data):
    assert data.num_classes == 31
    assert data.class_names[4] == "dribbling basketball"
