"""Which process reads which clips, and when; and the data module over all of it."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from inforeg_lightning.data import CREMADDataModule, KineticsSoundsDataModule
from inforeg_lightning.data.cremad import CLASSES as CREMAD_CLASSES
from inforeg_lightning.data.loading.dataset import StoreDataset, any_frames
from inforeg_lightning.data.shards import Shards, ShardSampler
from inforeg_lightning.data.store import Store, StoreError

CLIPS = 7 * len(CREMAD_CLASSES)


def samplers(place, ranks, seed=0, shuffle=True, rows=None, window=2):
    shards = Shards(place)
    rows = np.flatnonzero(shards.splits == "train") if rows is None else rows
    made = []
    for rank in range(ranks):
        dataset = StoreDataset(shards, rows, any_frames, augment=True, seed=seed)
        made.append(ShardSampler(dataset, shards, seed, ranks, rank, shuffle, window))
    return made


def epoch_of(sampler, epoch=0):
    sampler.set_epoch(epoch)
    return list(sampler)


class TestSampler:
    @pytest.mark.parametrize("shuffle", [True, False])
    @pytest.mark.parametrize("ranks", [1, 2, 3, 5, 7])
    def test_every_clip_is_in_one_rank_and_the_remainder_in_the_last(self, made, ranks, shuffle):
        parts = [epoch_of(s) for s in samplers(made / "raw.shards", ranks, shuffle=shuffle)]
        clips = CLIPS - len(CREMAD_CLASSES)
        length = -(-clips // ranks)
        assert [len(part) for part in parts] == [length] * ranks
        extra = length * ranks - clips
        flat = [clip for part in parts for clip in part]
        assert set(flat) == set(range(clips))
        twice = [clip for clip in set(flat) if flat.count(clip) > 1]
        assert len(twice) == extra < ranks
        if extra:
            assert set(twice) <= set(parts[0]) & set(parts[-1])

    def test_more_ranks_than_clips(self, made):
        parts = [epoch_of(s) for s in samplers(made / "raw.shards", 5, rows=np.arange(2))]
        assert [len(part) for part in parts] == [1] * 5
        assert {clip for part in parts for clip in part} == {0, 1}

    def test_the_order_is_of_seed_and_epoch(self, made):
        def order(seed, epoch):
            (sampler,) = samplers(made / "raw.shards", 1, seed)
            return epoch_of(sampler, epoch)

        assert order(0, 1) == order(0, 1)
        orders = [order(seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
        assert len({tuple(of) for of in orders}) == 4
        assert all(sorted(of) == sorted(orders[0]) for of in orders)

    def test_a_window_needs_few_shards_and_mixes_them(self, made):
        (sampler,) = samplers(made / "raw.shards", 1, window=2)
        for block in sampler._blocks():
            assert len(sampler._needed(block)) <= 4
        shard = sampler.shards.shard[sampler.clips.rows[epoch_of(sampler)]]
        assert (np.diff(shard) != 0).sum() > len(np.unique(shard))
        (whole,) = samplers(made / "raw.shards", 1, window=10_000)
        assert len(whole._blocks()) == 1

    def test_ranks_need_different_shards(self, made):
        sets = [
            set(s.shards.shard[s.clips.rows[epoch_of(s)]].tolist())
            for s in samplers(made / "raw.shards", 3)
        ]
        shards = len(set().union(*sets))
        # One shard may be cut between two ranks.
        assert sum(map(len, sets)) <= shards + 2

    def test_coming_shards_are_fetched(self, server, tmp_path):
        shards = Shards(f"{server.url}/raw.shards", cache=tmp_path)
        rows = np.flatnonzero(shards.splits == "train")
        sampler = ShardSampler(StoreDataset(shards, rows, any_frames), shards, 0, window=1)
        order = epoch_of(sampler)
        assert sorted(order) == list(range(len(rows)))
        sampler = iter(sampler)
        next(sampler)
        sampler.close()

    @pytest.mark.parametrize("workers", [0, 2])
    def test_batches_are_the_stores_for_every_clip(self, made, workers):
        (sampler,) = samplers(made / "raw.shards", 1, seed=3)
        loader = DataLoader(
            sampler.clips, 8, sampler=sampler, num_workers=workers, collate_fn=lambda batch: batch
        )
        store = StoreDataset(
            Store(made / "raw"), sampler.clips.rows, any_frames, augment=True, seed=3
        )
        for epoch in (0, 1):
            order = epoch_of(sampler, epoch)
            store.epoch.fill_(epoch)
            for number, batch in enumerate(loader):
                expected = store.__getitems__(order[8 * number : 8 * number + 8])
                assert set(batch) == set(expected)
                assert all(torch.equal(batch[key], expected[key]) for key in batch)


class TestModule:
    def module(self, place, **settings):
        data = CREMADDataModule(place, num_workers=0, batch_size=16, **settings)
        data.setup()
        return data

    @pytest.mark.parametrize("split", ["published", "group"])
    def test_splits_are_those_of_the_store(self, made, split):
        shares = {"test_share": 0.2, "val_share": 0.2}
        ours = self.module(made / "raw.shards", split=split, **shares)
        theirs = self.module(made / "raw", split=split, **shares)
        for part in ("train", "val", "test"):
            assert np.array_equal(ours.split.rows[part], theirs.split.rows[part])
        assert ours.table() == theirs.table().replace("/raw/", "/raw.shards/")

    def test_evaluation_gives_every_clip_once(self, made):
        data = self.module(made / "raw.shards")
        for part, loader in (("val", data.val_dataloader()), ("test", data.test_dataloader())):
            labels = torch.cat([batch["label"] for batch in loader])
            assert len(labels) == len(data.split.rows[part])

    def test_from_a_url(self, made, server, tmp_path):
        data = self.module(f"{server.url}/raw.shards", cache=tmp_path / "cache")
        batch = data.on_after_batch_transfer(next(iter(data.train_dataloader())), 0)
        assert tuple(batch["video"].shape) == (16, 3, 3, 224, 224)
        there = self.module(made / "raw.shards")
        other = there.on_after_batch_transfer(next(iter(there.train_dataloader())), 0)
        assert all(torch.equal(batch[key], other[key]) for key in batch)
        assert f"1 could not be prepared: {server.url}/raw.shards/rejected.csv" in data.table()

    def test_a_password_in_the_url_is_not_told(self, made, server, tmp_path, caplog):
        place = f"http://me:s3cr3t@{server.host}/raw.shards"
        with caplog.at_level("INFO"):
            data = self.module(place, cache=tmp_path / "cache")
        assert f"http://***@{server.host}/raw.shards/rejected.csv" in data.table()
        assert "raw.shards/rejected.csv" in caplog.text
        assert "s3cr3t" not in data.table() + caplog.text
        with pytest.raises(StoreError, match=r"not of Kinetics-Sounds") as caught:
            KineticsSoundsDataModule(place, cache=tmp_path / "cache").setup()
        assert "s3cr3t" not in str(caught.value)

    def test_shards_of_another_data_set_are_refused(self, made):
        with pytest.raises(StoreError, match=r"is of cremad, not of Kinetics-Sounds"):
            KineticsSoundsDataModule(made / "raw.shards").setup()
