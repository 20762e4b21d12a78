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
