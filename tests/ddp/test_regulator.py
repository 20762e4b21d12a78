"""A bare loop with DistributedDataParallel and a Regulator, on two processes as on one."""

import pytest

from ddp.conftest import run_pair
from ddp.regulator_worker import SET_UPS, train
from helpers.comparison import assert_close_weights
from helpers.modules import assert_same_weights


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> list[dict]:
    return run_pair("regulator_worker.py", tmp_path_factory.mktemp("regulators"))


@pytest.mark.parametrize("name", SET_UPS)
def test_both_ranks_hold_the_same_weights_after_every_epoch(pair, name):
    ours, theirs = (rank[name] for rank in pair)
    for mine, other in zip(ours["weights"], theirs["weights"], strict=True):
        assert_same_weights(mine, other)
    assert ours["history"] == theirs["history"]
    assert ours["validated"] == theirs["validated"]


@pytest.mark.parametrize("name", SET_UPS)
def test_two_processes_are_one_on_the_same_global_batches(pair, name):
    one, two = train(SET_UPS[name]), pair[0][name]
    assert len(two["weights"]) == SET_UPS[name].epochs
    assert_close_weights(two["weights"], one["weights"])
    assert two["validated"] == pytest.approx(one["validated"], rel=1e-9)
    assert len(two["history"]) == len(one["history"])
    for mine, reference in zip(two["history"], one["history"], strict=True):
        for quantity, of in reference.items():
            if isinstance(of, dict):
                for modality, value in of.items():
                    expected = value if value is None else pytest.approx(value, rel=1e-8, abs=1e-12)
                    assert mine[quantity][modality] == expected, (quantity, modality)
