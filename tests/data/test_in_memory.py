import pytest
import torch
from torch.utils.data import DistributedSampler, RandomSampler

from helpers.trainers import quiet_trainer
from inforeg_lightning.data.loading.in_memory import (
    InMemoryDataset,
    SeededShuffle,
    in_memory_loader,
)

# Lightning 2.6 on newer torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

TENSORS = {"x": torch.arange(10.0).view(10, 1), "label": torch.arange(10)}


def order(loader):
    return torch.cat([batch["label"] for batch in loader]).tolist()


@pytest.mark.parametrize("num_workers", [0, 1])
def test_batches_are_rows_of_the_tensors(num_workers):
    batches = list(in_memory_loader(TENSORS, batch_size=4, num_workers=num_workers))
    assert [len(batch["label"]) for batch in batches] == [4, 4, 2]
    assert order(batches) == list(range(10))
    for batch in batches:
        assert torch.equal(batch["x"][:, 0].long(), batch["label"])


def test_a_batch_is_what_single_samples_would_make():
    dataset = InMemoryDataset(TENSORS)
    batch = dataset.__getitems__([7, 2])
    for row, index in enumerate((7, 2)):
        assert all(torch.equal(batch[key][row], dataset[index][key]) for key in TENSORS)


def test_refuses_tensors_of_different_lengths():
    with pytest.raises(ValueError, match=r"common number of samples, got \{'x': 10, 'y': 3\}"):
        InMemoryDataset({"x": TENSORS["x"], "y": torch.zeros(3)})


def test_the_shuffled_order_depends_on_seed_and_epoch_alone():
    def shuffled(seed, epoch):
        loader = in_memory_loader(TENSORS, batch_size=4, shuffle_seed=seed)
        loader.sampler.set_epoch(epoch)
        torch.rand(seed + epoch)  # a draw from the global generator must not matter
        return order(loader)

    assert shuffled(0, 1) == shuffled(0, 1)
    assert sorted(shuffled(0, 1)) == list(range(10))
    orders = {tuple(shuffled(seed, epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_lightning_changes_the_order_every_epoch_and_can_shard_it():
    import lightning.pytorch as L
    from lightning.fabric.utilities.data import _update_dataloader

    class Recorder(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.seen = {}

            self.scale = torch.nn.Parameter(torch.ones(()))

        def training_step(self, batch, batch_idx):
            self.seen.setdefault(self.current_epoch, []).extend(batch["label"].tolist())
            return self.scale * batch["x"].mean()

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    recorder = Recorder()
    loader = in_memory_loader(TENSORS, batch_size=4, shuffle_seed=0)
    quiet_trainer(max_epochs=2).fit(recorder, loader)
    assert sorted(recorder.seen[0]) == sorted(recorder.seen[1]) == list(range(10))
    assert recorder.seen[0] != recorder.seen[1]

    # What Lightning does under DDP: the same loader again with its own sampler.
    assert isinstance(loader.sampler, SeededShuffle)
    assert isinstance(loader.sampler, RandomSampler)
    halves = [
        order(
            _update_dataloader(
                loader, DistributedSampler(loader.dataset, num_replicas=2, rank=rank, seed=0)
            )
        )
        for rank in range(2)
    ]
    assert sorted(halves[0] + halves[1]) == list(range(10))
