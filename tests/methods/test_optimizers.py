"""Optimising by hand, several optimisers, and compiled modules."""

import pytest
import torch

from helpers.comparison import assert_close_weights
from helpers.manual import Manual, OneForEach
from helpers.methods import every_method, those
from helpers.modules import Late, assert_same_weights
from helpers.regulated import fit

EPOCHS = 2


def trained(module, callback, **settings):
    return fit(module, callback, max_epochs=EPOCHS, **settings)


@every_method
def test_by_hand_is_as_by_lightning(method):
    ours, theirs = trained(Manual(), method()), trained(Late(), method())
    for mine, reference in zip(ours["weights"], theirs["weights"], strict=True):
        assert_same_weights(mine, reference)
    assert ours["history"] == theirs["history"]


@those(lambda method: method.one_optimizer)
def test_several_optimisers_are_refused_where_they_cannot_be(method):
    with pytest.raises(ValueError, match=f"3 optimisers, but {method.of.__name__}"):
        trained(OneForEach(), method())


@those(lambda method: not method.one_optimizer)
def test_an_optimiser_for_each_module(method):
    ours, theirs = trained(OneForEach(), method()), trained(Late(), method())
    if method.draws:  # seeded by Lightning's global step, which counts every optimiser's
        assert all(p.isfinite().all() for p in ours["weights"][-1].values())
        assert [entry["skipped"] for entry in ours["history"]] == [0] * EPOCHS
    else:
        assert_close_weights(ours["weights"], theirs["weights"], atol=1e-10)


@those(lambda method: method.needs_head)  # what all share is tested for InfoReg
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
def test_a_compiled_module_trains_as_it_does_without(method):
    torch._dynamo.reset()
    module = Late()
    ours = trained(module, method(), compiled=torch.compile(module, backend="eager"))
    weights = [{n.replace("_orig_mod.", ""): p for n, p in e.items()} for e in ours["weights"]]
    assert_close_weights(weights, trained(Late(), method())["weights"], atol=1e-10)
    torch._dynamo.reset()
