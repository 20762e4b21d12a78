import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from helpers.trainers import quiet_trainer
from inforeg_lightning.data.loading.augment import uniforms
from inforeg_lightning.data.loading.dataset import (
    EpochSampler,
    StoreDataset,
    any_frames,
    finish,
    middle_frames,
    segment_frames,
)
from inforeg_lightning.data.store import Store, StoreWriter

# Lightning 2.6 on newer torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

CLIPS = 12


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Clips of 3 to 6 frames in two shapes; a frame's grey level says which it is."""
    path = tmp_path_factory.mktemp("store") / "store"
    with StoreWriter(path, {}) as writer:
        for clip in range(CLIPS):
            shape = (24, 32) if clip % 3 else (32, 20)
            levels = 20 * clip + np.arange(3 + clip % 4, dtype=np.uint8)
            frames = np.broadcast_to(levels[:, None, None, None], (len(levels), *shape, 3))
            audio = np.full((4, 5), clip, np.float32) + np.arange(5) / 8
            writer.add(f"clip{clip}", clip % 3, np.ascontiguousarray(frames), audio)
    return Store(path)


@pytest.fixture(scope="module", params=["raw", "jpeg"])
def noisy(request, tmp_path_factory):
    """Clips of noise in two shapes, or in one."""
    path = tmp_path_factory.mktemp("noisy") / request.param
    rng = np.random.default_rng(0)
    with StoreWriter(path, {}, request.param) as writer:
        for clip in range(CLIPS):
            shape = (48, 64) if clip % 3 else (64, 40)
            frames = rng.integers(256, size=(3 + clip % 4, *shape, 3), dtype=np.uint8)
            writer.add(f"clip{clip}", clip % 3, frames, rng.standard_normal((4, 5)))
    return Store(path)


def dataset_of(store, rows=None, choose=any_frames, **settings):
    rows = np.arange(CLIPS) if rows is None else np.asarray(rows)
    return StoreDataset(store, rows, choose, **settings)


def draws(count, wanted=3):
    return uniforms(0, 0, np.arange(count), wanted)


class TestFrameChoice:
    @pytest.mark.parametrize("count", [3, 4, 7])
    def test_any_frames_takes_every_set_of_frames_equally_often(self, count):
        chosen = [tuple(any_frames(count, draw)) for draw in draws(6000)]
        sets, times = np.unique(chosen, axis=0, return_counts=True)
        assert (np.diff(sets) > 0).all()
        assert (sets.min(), sets.max()) == (0, count - 1)
        expected = 6000 / len(times)
        assert len(times) == count * (count - 1) * (count - 2) // 6
        assert np.abs(times - expected).max() < 5 * expected**0.5

    def test_segment_frames_takes_every_frame_of_a_segment_equally_often(self):
        chosen = np.array([segment_frames(10, draw) for draw in draws(6000)])
        for segment, frames in zip(chosen.T, ([0, 1, 2], [3, 4, 5], [6, 7, 8, 9]), strict=True):
            found, times = np.unique(segment, return_counts=True)
            assert found.tolist() == frames
            assert np.abs(times - 6000 / len(frames)).max() < 5 * 2000**0.5

    @pytest.mark.parametrize(
        ("count", "frames"),
        [(3, [0, 1, 2]), (4, [0, 2, 3]), (6, [1, 3, 5]), (9, [1, 4, 7]), (10, [1, 5, 8])],
    )
    def test_middle_frames_are_the_middles(self, count, frames):
        assert middle_frames(count, np.zeros(3)) == frames

    @pytest.mark.parametrize("choose", [any_frames, segment_frames, middle_frames])
    @pytest.mark.parametrize(("count", "frames"), [(1, [0, 0, 0]), (2, [0, 1, 1])])
    def test_too_few_frames_are_repeated_in_order(self, choose, count, frames):
        assert choose(count, draws(1)[0]) == frames


class TestBatches:
    def test_they_hold_what_the_store_has(self, store):
        batch = dataset_of(store, [5, 2], middle_frames).__getitems__([1, 0])
        assert batch["label"].tolist() == [2, 2]
        assert torch.equal(batch["audio"][0, 0], torch.from_numpy(store.audio(2)))
        # Clip 2 has five frames, clip 5 has four.
        assert batch["frames"][..., 0, 0, 0].tolist() == [[40, 42, 44], [100, 102, 103]]
        assert {key: tuple(value.shape[:2]) for key, value in batch.items() if key != "label"} == {
            "audio": (2, 1),
            "frames": (2, 3),
            "boxes": (2, 3),
            "mirrored": (2, 3),
        }

    def test_frames_of_other_shapes_are_padded_out_of_their_boxes(self, store):
        batch = dataset_of(store, [0, 1], middle_frames).__getitems__([0, 1])
        assert tuple(batch["frames"].shape) == (2, 3, 32, 32, 3)
        assert batch["boxes"][:, 0].tolist() == [[0, 0, 32, 20], [0, 0, 24, 32]]
        video = finish(batch, size=8)["video"]
        # One grey level a frame: the padding is nowhere.
        assert (video.amax((3, 4)) - video.amin((3, 4))).max() < 1e-6

    def test_finished_are_those_of_the_network(self, store):
        batch = dataset_of(store, augment=True, finished=True).__getitems__([0, 1, 2, 3])
        assert set(batch) == {"audio", "video", "label"}
        assert tuple(batch["video"].shape) == (4, 3, 3, 224, 224)
        assert batch["audio"].dtype == batch["video"].dtype == torch.float32
        later = finish(dataset_of(store, augment=True).__getitems__([0, 1, 2, 3]))
        assert all(torch.equal(batch[key], later[key]) for key in batch)
        assert finish(batch) is batch

    def test_time_first_turns_spectrograms(self, store):
        (one, other) = (
            dataset_of(store, time_first=turned).__getitems__([3])["audio"]
            for turned in (False, True)
        )
        assert torch.equal(one.transpose(2, 3), other)

    def test_a_single_sample_is_a_row_of_a_batch(self, store):
        dataset = dataset_of(store, augment=True)
        batch = dataset.__getitems__([4])
        assert all(torch.equal(dataset[4][key], batch[key][0]) for key in batch)

    def test_random_numbers_are_of_the_clip_not_of_the_batch(self, store):
        dataset = dataset_of(store, augment=True)
        whole = dataset.__getitems__(range(CLIPS))
        alone = dataset.__getitems__([7])
        assert torch.equal(whole["boxes"][7], alone["boxes"][0])
        # The subset of another split, where the clip has another number.
        subset = dataset_of(store, [7, 9], augment=True).__getitems__([0])
        assert torch.equal(subset["boxes"], alone["boxes"])
        assert len(whole["boxes"].flatten(0, 1).unique(dim=0)) > 2 * CLIPS

    def test_epoch_and_seed_change_them(self, store):
        def boxes(seed, epoch):
            dataset = dataset_of(store, augment=True, seed=seed)
            dataset.epoch.fill_(epoch)
            return dataset.__getitems__(range(CLIPS))["boxes"]

        assert torch.equal(boxes(0, 1), boxes(0, 1))
        assert not torch.equal(boxes(0, 1), boxes(0, 2))
        assert not torch.equal(boxes(0, 1), boxes(1, 1))

    def test_evaluation_has_nothing_random(self, store):
        dataset = dataset_of(store, choose=middle_frames)
        one = dataset.__getitems__(range(CLIPS))
        dataset.epoch.fill_(5)
        two = dataset.__getitems__(range(CLIPS))
        assert all(torch.equal(one[key], two[key]) for key in one)
        assert not one["mirrored"].any()


class TestReading:
    """Only rows that are needed are read, into memory that is handed over."""

    @pytest.mark.parametrize("augment", [False, True])
    @pytest.mark.parametrize("rows", [[1, 2, 4, 5], [0, 1, 2, 3]], ids=["one shape", "two shapes"])
    def test_boxes_hold_the_pixels_of_whole_frames(self, noisy, rows, augment):
        dataset = dataset_of(noisy, rows, middle_frames, augment=augment)
        batch = dataset.__getitems__(range(4))
        whole = torch.zeros_like(batch["frames"])
        for into, row in zip(whole, rows, strict=True):
            clip = noisy.frames(row, middle_frames(noisy.frame_count(row), np.zeros(3)))
            into[:, : clip.shape[2], : clip.shape[3]] = clip.permute(0, 2, 3, 1)
        needed = torch.zeros(whole.shape[:3], dtype=torch.bool)
        for clip, boxes in zip(needed, batch["boxes"], strict=True):
            for frame, (top, _, height, _) in zip(clip, boxes.tolist(), strict=True):
                frame[top : top + height] = True
        assert torch.equal(batch["frames"][needed], whole[needed])
        if noisy.frame_format == "raw":
            assert not batch["frames"][~needed].any()
            assert (~needed).any() or not augment
        expected = finish(batch | {"frames": whole})
        assert torch.equal(finish(batch)["video"], expected["video"])
        assert torch.equal(batch["audio"][2, 0], torch.from_numpy(noisy.audio(rows[2])))

    @pytest.mark.parametrize("finished", [False, True])
    @pytest.mark.parametrize("num_workers", [0, 1])
    def test_a_batch_that_is_held_is_never_overwritten(self, noisy, num_workers, finished):
        loader = loaded(noisy, num_workers, finished=finished)
        held, copies = [], []
        for epoch in range(3):
            loader.sampler.set_epoch(epoch)
            for batch in loader:
                held.append(batch)
                copies.append({key: value.clone() for key, value in batch.items()})
        for batch, copy in zip(held, copies, strict=True):
            assert all(torch.equal(batch[key], copy[key]) for key in batch)
        pixels = "video" if finished else "frames"
        places = {batch[key].data_ptr() for batch in held for key in (pixels, "audio")}
        assert len(places) == 2 * len(held)

    @pytest.mark.parametrize("finished", [False, True])
    @pytest.mark.parametrize("num_workers", [0, 1])
    def test_a_worker_makes_pixels_in_shared_memory(self, store, num_workers, finished):
        loader = loaded(store, num_workers, finished=finished)
        pixels = "video" if finished else "frames"
        loader.collate_fn = lambda batch: batch[pixels].is_shared()
        assert list(loader) == [num_workers > 0] * 3


def loaded(store, num_workers=0, num_replicas=1, rank=0, finished=False):
    dataset = dataset_of(store, augment=True, finished=finished)
    return DataLoader(
        dataset,
        batch_size=5,
        sampler=EpochSampler(dataset, 0, num_replicas, rank),
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        collate_fn=lambda batch: batch,
    )


def epoch_of(loader, epoch):
    """Clip -> boxes of its frames; the loudness says which clip it is."""
    loader.sampler.set_epoch(epoch)
    seen = {}
    for batch in loader:
        clips = batch["audio"][:, 0, 0, 0].int().tolist()
        seen |= dict(zip(clips, batch["boxes"].tolist(), strict=True))
    return seen


class TestEpochs:
    def test_workers_that_live_on_learn_of_the_epoch(self, store):
        here, there = loaded(store), loaded(store, num_workers=1)
        epochs = [epoch_of(there, epoch) for epoch in range(3)]
        assert epochs == [epoch_of(here, epoch) for epoch in range(3)]
        assert list(epochs[0]) != list(epochs[1])
        assert all(epochs[0][clip] != epochs[1][clip] for clip in range(CLIPS))

    def test_ranks_share_the_epoch_and_nothing_is_seen_twice(self, store):
        halves = [epoch_of(loaded(store, num_replicas=2, rank=rank), 3) for rank in range(2)]
        assert not set(halves[0]) & set(halves[1])
        assert {**halves[0], **halves[1]} == epoch_of(loaded(store), 3)

    def test_a_trainer_begins_each_epoch(self, store):
        import lightning.pytorch as L

        class Recorder(L.LightningModule):
            def __init__(self):
                super().__init__()
                self.scale = torch.nn.Parameter(torch.ones(()))
                self.seen = {}

            def training_step(self, batch, batch_idx):
                clips = batch["audio"][:, 0, 0, 0].int().tolist()
                of_epoch = self.seen.setdefault(self.current_epoch, {})
                of_epoch |= dict(zip(clips, batch["boxes"].tolist(), strict=True))
                return self.scale * batch["audio"].float().mean()

            def configure_optimizers(self):
                return torch.optim.SGD(self.parameters(), lr=0.1)

        recorder = Recorder()
        quiet_trainer(max_epochs=3).fit(recorder, loaded(store))
        assert recorder.seen == {epoch: epoch_of(loaded(store), epoch) for epoch in range(3)}
