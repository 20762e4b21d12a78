"""Data that are loaded in a process of their own."""

from torch.utils.data import DataLoader

from inforeg_lightning.data import SyntheticDataModule


class LoadedByAProcess(SyntheticDataModule):
    """With one worker process for the training data, and its batches in order."""

    def train_dataloader(self) -> DataLoader:
        loader = super().train_dataloader()
        return DataLoader(loader.dataset, batch_size=loader.batch_size, num_workers=1)
