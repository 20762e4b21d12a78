"""A diagnosis of a tiny model, shared by the tests of what it leaves."""

import pytest
import torch

from helpers.diagnosed import Tiny, call, loaders
from inforeg_lightning.diagnosis import diagnose


@pytest.fixture(scope="session")
def diagnosed(tmp_path_factory):
    """The diagnosis of a tiny model, and the folder of its runs."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("runs")
    return diagnose(Tiny, *loaders(), **call(folder=folder, seeds=2)), folder
