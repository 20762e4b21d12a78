"""Violent-Flows from raw clips: folds, optical flow, and sound where there is one."""

import numpy as np
import pytest
import torch

pytest.importorskip("av")
pytest.importorskip("cv2")

from helpers.raw_media import write_violent_flows
from inforeg_lightning.data import ViolentFlowsDataModule
from inforeg_lightning.data.prepare import LayoutError, prepare
from inforeg_lightning.data.prepare.flow import MOST, optical_flow
from inforeg_lightning.data.store import Store
from inforeg_lightning.data.violent_flows import ViolentFlowsRecipe

SILENT = ("2_violent_0", "3_non-violent_1")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("violent_flows")
    faults = {"5_violent_1": "one_frame", "4_violent_0": "broken"}
    write_violent_flows(root / "raw", silent=SILENT, faults=faults)
    (root / "raw/6/Extra").mkdir(parents=True)
    (root / "raw/6/Extra/more.avi").write_bytes(b"beside the folds")
    prepare(ViolentFlowsRecipe(), root / "raw", root / "store", workers=1)
    return root / "store"


def moved(dx, dy):
    """A textured picture, and the same moved."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 255, (12, 16, 3)).astype(np.uint8)
    whole = np.kron(coarse, np.ones((8, 8, 1), np.uint8))
    return whole, np.roll(whole, (dy, dx), axis=(0, 1))


@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (3, 0), (-3, 0), (0, 2)])
def test_flow_is_where_everything_goes(dx, dy):
    flow = optical_flow(*moved(dx, dy))[24:-24, 24:-24].reshape(-1, 3).astype(float)
    found = np.median(flow, axis=0)
    expected = [(dx / MOST + 1) / 2 * 255, (dy / MOST + 1) / 2 * 255, np.hypot(dx, dy) / MOST * 255]
    np.testing.assert_allclose(found, expected, atol=4)


def test_frames_and_their_flow_are_stored_side_by_side(store):
    opened = Store(store)
    assert len(opened) == 18
    assert dict(opened.rejected) == {
        "4_violent_0": opened.rejected[0][1],
        "5_violent_1": "video: too short: 0 of at least 3 frames that another follows",
    }
    row = opened.names.tolist().index("1_violent_0")
    count = opened.frame_count(row)
    # 1.6 s at 25 per second are 40 frames; each eighth has one that follows it.
    assert count == 2 * 5
    flow = opened.frames(row, [count // 2])[0].numpy().transpose(1, 2, 0)
    # Most of the picture stands still.
    np.testing.assert_allclose(np.median(flow.reshape(-1, 3), axis=0), [128, 128, 0], atol=1)
    # And in some clip the square moves, by up to 1.7 pixels, which is 21 levels.
    lengths = [opened.frames(i, [opened.frame_count(i) // 2])[0, 2].max() for i in range(18)]
    assert 5 < max(lengths) < 60


def test_a_clip_without_sound_is_kept_and_has_none(store):
    opened = Store(store)
    silent = [name for i, name in enumerate(opened.names) if not opened.audio(i).any()]
    assert sorted(silent) == sorted(SILENT)


def load(store, **settings):
    data = ViolentFlowsDataModule(store, num_workers=0, **settings)
    data.setup()
    return data


@pytest.mark.parametrize("fold", range(5))
def test_a_fold_tests_and_validation_comes_out_of_the_others(store, fold):
    data = load(store, fold=fold, val_share=0.3)
    opened, rows = Store(store), data.split.rows
    assert {*opened.groups[rows["test"]]} == {str(fold + 1)}
    others = np.concatenate([rows["train"], rows["val"]])
    assert str(fold + 1) not in opened.groups[others]
    assert sorted([*others, *rows["test"]]) == list(range(len(opened)))
    assert {*opened.labels[rows["val"]]} == {0, 1}


def test_a_batch_has_pictures_and_motion_and_what_has_sound(store):
    data = load(store, fold=1, batch_size=20, gaps=True)
    raw = next(iter(data.test_dataloader()))
    batch = data.on_after_batch_transfer(raw, 0)
    assert batch["video"].shape == batch["flow"].shape == (4, 3, 3, 224, 224)
    assert batch["audio"].shape == (4, 1, 257, 188)
    names = Store(store).names[data.split.rows["test"]].tolist()
    assert batch["present"]["audio"].tolist() == [name not in SILENT for name in names]
    assert batch["flow"].abs().median() < 0.05  # no motion is about 0
    assert data.modalities == ("video", "flow", "audio")
    without = load(store, fold=1)
    plain = without.on_after_batch_transfer(next(iter(without.test_dataloader())), 0)
    assert set(plain) == {"video", "flow", "label"}


def test_a_mirrored_motion_goes_the_other_way(store):
    data = load(store, batch_size=4)
    raw = next(iter(data.test_dataloader()))
    plain = data.on_after_batch_transfer(dict(raw), 0)["flow"]
    mirrored = raw | {"mirrored": torch.ones_like(raw["mirrored"])}
    turned = data.on_after_batch_transfer(mirrored, 0)["flow"].flip(-1)
    # 255 - 128 is 127: half a level of rounding on each side.
    torch.testing.assert_close(turned[:, 0], -plain[:, 0], rtol=0, atol=0.04)
    torch.testing.assert_close(turned[:, 1:], plain[:, 1:], rtol=0, atol=0.04)


@pytest.mark.parametrize("fold", [-1, 5, "1"])
def test_a_wrong_fold_is_one_clear_error(store, fold):
    with pytest.raises(ValueError, match="`fold` must be 0 to 4"):
        ViolentFlowsDataModule(store, fold=fold)


def test_a_tree_that_is_laid_out_differently_shows_the_layout(tmp_path):
    with pytest.raises(LayoutError, match="there is no such folder; expected"):
        ViolentFlowsRecipe().find(tmp_path / "nothing")
    (tmp_path / "Violence").mkdir()
    (tmp_path / "Violence/a.avi").write_bytes(b"")
    with pytest.raises(LayoutError, match=r"no \.avi in a folder of a fold; expected"):
        ViolentFlowsRecipe().find(tmp_path)
    (tmp_path / "1/Violence").mkdir(parents=True)
    (tmp_path / "1/Violence/a.avi").write_bytes(b"")
    with pytest.raises(LayoutError, match="no clips in 2, 3, 4, 5"):
        ViolentFlowsRecipe().find(tmp_path)
