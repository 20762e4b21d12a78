import logging

import pytest
import torch


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _quiet_lightning():
    # Its lines on devices and on stopping; warnings stay, and are errors here.
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)


def pytest_collection_modifyitems(items):
    """Keep the tests of a file in one process, and all that share the pairs of processes.

    What a file's fixtures prepare is then prepared once.
    """
    for item in items:
        group = "ddp" if item.path.parent.name == "ddp" else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
