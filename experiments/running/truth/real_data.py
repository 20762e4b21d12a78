"""The real data that worlds are made of, as pools of samples to choose from."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from running.truth.worlds import Batch

AV_DIGITS, AV_MNIST, SIX_VIEWS, DIGITS = "AV-Digits", "AV-MNIST", "six views", "digits"
IN_FOLDERS = {AV_MNIST: "av_mnist", SIX_VIEWS: "multiple_features"}
"""Set that is read from a folder -> the word that the command line gives its folder by."""

SHAPES: dict[str, dict[str, tuple[int, ...]]] = {
    AV_DIGITS: {"audio": (1, 32, 32), "image": (1, 24, 24)},
    AV_MNIST: {"audio": (1, 32, 32), "image": (1, 24, 24)},
    SIX_VIEWS: {
        view: (width,)
        for view, width in zip(
            ("fac", "fou", "kar", "mor", "pix", "zer"), (216, 76, 64, 6, 240, 47), strict=True
        )
    },
    DIGITS: {"top": (32,), "bottom": (32,), "left": (32,), "right": (32,), "inner": (16,)},
}
"""Set -> modality -> shape of a sample."""

_RENDERINGS = {AV_DIGITS: 8, AV_MNIST: 4}
"""Of each test digit, or of each recording of it, for an oracle: above 4,000 samples."""


@cache
def pools(data: str, folder: str) -> Mapping[str, Batch]:
    """The samples of a set.

    Args:
        data: Which.
        folder: Where it lies, if it is one of ``IN_FOLDERS``.

    Returns:
        ``"train"``, ``"validation"``, ``"test"`` and ``"oracle"`` -> modality and ``"label"`` ->
        samples; or ``"all"`` alone, where the set comes undivided.
    """
    if data == DIGITS:
        return {"all": _parts_of_digits()}
    if data == SIX_VIEWS:
        from inforeg_lightning.data import MultipleFeaturesDataModule

        return {"all": _joined(_splits(MultipleFeaturesDataModule(folder)))}
    found = _splits(_digit_module(data, folder, 0))
    return {**found, "oracle": _splits(_digit_module(data, folder, _RENDERINGS[data]))["test"]}


def check(data: str, folder: str) -> None:
    """Find out, before anything is measured, whether a set lies in its folder.

    Raises:
        FileNotFoundError: It does not; the message shows the layout.
    """
    from inforeg_lightning.data import MultipleFeaturesDataModule

    module = MultipleFeaturesDataModule(folder) if data == SIX_VIEWS else None
    (module or _digit_module(data, folder, 0)).check()


def _digit_module(data: str, folder: str, renderings: int) -> Any:
    """The data module of written and spoken digits, with more of each test digit if asked."""
    from inforeg_lightning.data import AVDigitsDataModule, AVMNISTDataModule
    from inforeg_lightning.data.av_digits import AVDigitsRecipe
    from inforeg_lightning.data.av_mnist import AVMNISTRecipe

    recipe: Any = AVDigitsRecipe() if data == AV_DIGITS else AVMNISTRecipe()
    if renderings:
        recipe = replace(recipe, test=replace(recipe.test, renderings=renderings))
    if data == AV_DIGITS:
        return AVDigitsDataModule(recipe=recipe)
    return AVMNISTDataModule(folder, recipe=recipe)


def _splits(module: Any) -> dict[str, Batch]:
    module.prepare_data()
    module.setup()
    loaders = {
        "train": module.train_dataloader(),
        "validation": module.val_dataloader(),
        "test": module.test_dataloader(),
    }
    torch.manual_seed(0)  # the order of training batches
    return {split: _concatenated([*loader]) for split, loader in loaders.items()}


def _joined(splits: Mapping[str, Batch]) -> Batch:
    return _concatenated([*splits.values()])


def _concatenated(batches: list[Batch]) -> Batch:
    return {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}


def _parts_of_digits() -> Batch:
    """Parts of scikit-learn's 1,797 handwritten digits, as they are."""
    from sklearn.datasets import load_digits

    images, label = load_digits(return_X_y=True)
    x = torch.tensor((images - 4.9) / 6.0, dtype=torch.float32).reshape(-1, 8, 8)
    parts: dict[str, Tensor] = {
        "top": x[:, :4],
        "bottom": x[:, 4:],
        "left": x[:, :, :4],
        "right": x[:, :, 4:],
        "inner": x[:, 2:6, 2:6],
    }
    return {m: of.flatten(1) for m, of in parts.items()} | {"label": torch.tensor(label)}
