"""Strategies under which gradients cannot be regulated are refused by name."""

import pytest
from lightning.pytorch.strategies import DeepSpeedStrategy, FSDPStrategy, SingleDeviceStrategy

from helpers.modules import Late
from helpers.regulated import fit, inforeg


class Pretended(SingleDeviceStrategy):
    """Runs on one device, and says that it is another strategy."""

    def __init__(self) -> None:
        super().__init__("cpu")


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (DeepSpeedStrategy, "DeepSpeedStrategy, which keeps gradients in buffers of its own"),
        (FSDPStrategy, r"FSDPStrategy, which flattens parameters.*Use DDPStrategy, or Model"),
    ],
)
def test_the_strategy_is_named(strategy, message):
    class Stand(Pretended):
        __class__ = strategy  # the packages and devices it needs are not here

    Stand.__name__ = strategy.__name__
    with pytest.raises(ValueError, match=message):
        fit(Late(), inforeg(), strategy=Stand())
