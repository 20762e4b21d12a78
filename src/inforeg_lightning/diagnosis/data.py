"""The user's three loaders, however they were given, checked before anything is trained."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from inforeg_lightning.diagnosis.errors import DiagnosisError

NAMES = ("train", "validation", "test")


@dataclass
class Data:
    """Three loaders, or a LightningDataModule that makes them.

    Attributes:
        loaders: For training, validation and test; empty with a data module.
        module: The data module, if there is one.
    """

    loaders: tuple[Any, ...]
    module: Any = None

    def fit_arguments(self, validates: bool) -> dict[str, Any]:
        """What ``Trainer.fit`` takes."""
        if self.module is not None:
            return {"datamodule": self.module}
        train, validation, _ = self.loaders
        found = {"train_dataloaders": train}
        return found | ({"val_dataloaders": validation} if validates else {})

    def made(self) -> tuple[Any, ...]:
        """The three loaders."""
        if self.module is None:
            return self.loaders
        self.module.prepare_data()
        for stage in ("fit", "validate", "test"):
            self.module.setup(stage)
        found = (
            self.module.train_dataloader(),
            self.module.val_dataloader(),
            self.module.test_dataloader(),
        )
        return tuple(x[0] if isinstance(x, list | tuple) else x for x in found)


class First:
    """A loader that ends after so many samples, and looks like no DataLoader to a Trainer.

    Args:
        loader: The loader.
        batches: How many of its batches.
    """

    def __init__(self, loader: Any, batches: int | None = None) -> None:
        self.loader, self.batches = loader, batches

    def __iter__(self) -> Iterator[Any]:
        """Its first batches."""
        yield from itertools.islice(iter(self.loader), self.batches)


def make_data(train: Any, validation: Any, test: Any) -> Data:
    """Take loaders or a data module, and try whether they can be iterated twice.

    Raises:
        DiagnosisError: One is missing, empty, or cannot be iterated twice.
    """
    if hasattr(train, "train_dataloader"):
        if validation is not None or test is not None:
            raise DiagnosisError(
                "give a LightningDataModule alone, or three loaders; `validation` and `test` are "
                "given beside a data module"
            )
        data = Data((), train)
    else:
        data = Data((train, validation, test))
    for name, loader in zip(NAMES, data.made(), strict=True):
        _check_loader(name, loader)
    return data


def _check_loader(name: str, loader: Any) -> None:
    if not hasattr(loader, "__iter__"):
        raise DiagnosisError(
            f"`{name}` must be a loader, but is {type(loader).__name__}: the diagnosis trains on "
            "one, chooses on the second and measures on the third"
        )
    twice = f"`{name}` cannot be iterated twice, and every run needs all of it: give a DataLoader"
    if iter(loader) is loader:
        raise DiagnosisError(f"{twice}, not an iterator")
    for attempt in (1, 2):
        if next(iter(loader), None) is None:
            raise DiagnosisError(
                f"`{name}` is empty" if attempt == 1 else f"{twice} of a dataset that starts anew"
            )
