"""Holds for every test: one thread, seeded generators, a quiet Lightning, a file in one process."""

import logging
import random

import numpy as np
import pytest
import torch

from helpers.programs import start_server


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


def seed_everything():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 (code under test and loaders may draw from it)
    torch.manual_seed(0)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Seed before the fixtures that several tests share are made."""
    seed_everything()


@pytest.fixture(autouse=True)
def _seeded(_one_thread):
    """Seed once more, so that a test draws the same whether or not it made those fixtures.

    Loaders draw the seed of each of their iterators from torch's generator; Hypothesis seeds
    `random` and NumPy by itself for each example, and gives back the state it found.
    """
    seed_everything()


@pytest.fixture(autouse=True)
def _quiet_lightning():
    # Its lines on devices and on stopping; warnings stay, and are errors here.
    for name in ("lightning.pytorch", "pytorch_lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)


def pytest_sessionstart(session):
    if hasattr(session.config, "workerinput"):  # of pytest-xdist: it will need it, and soon
        start_server()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config, log):
    """Keep the tests of a file in one process, and all that share the pairs of processes.

    What a file's fixtures prepare is then prepared once. (The groups of pytest-xdist 3.8 are not
    seen under pytest 9, which no longer has the attribute that xdist writes them to.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFile(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            file = nodeid.split("::")[0]
            return "ddp" if "ddp/" in file else file

    return ByFile(config, log)
