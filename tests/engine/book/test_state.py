"""State is declared once, and reset, saved and loaded from its declaration."""

import io
import pickle

import pytest
import torch

from inforeg_lightning.callbacks import InfoRegCallback
from inforeg_lightning.engine.book.state import Lifetime, Stateful, moved
from inforeg_lightning.methods import OGM, InfoReg


class Keeping(Stateful):
    def __init__(self):
        self.add_state("batch", list, Lifetime.BATCH)
        self.add_state("step", None, Lifetime.STEP)
        self.add_state("inside", dict, Lifetime.PERIOD, saved="inside")
        self.add_state("always", dict, Lifetime.FIT, saved="always")

    def fill(self):
        self.batch, self.step = [1], 2
        self.inside = {"w": torch.ones(2)}
        self.always = {"m": [torch.zeros(1), 3.0], "none": None}
        return self


def values(keeping):
    return keeping.batch, keeping.step, keeping.inside, keeping.always


@pytest.mark.parametrize("lifetime", Lifetime)
def test_what_is_forgotten_is_what_was_declared_to_live_so_long(lifetime):
    keeping = Keeping().fill()
    keeping.forget(lifetime)
    fresh = [not value for value in values(keeping)]
    assert fresh == [other is lifetime for other in Lifetime]


def test_a_reset_forgets_everything_and_shares_nothing():
    keeping, other = Keeping().fill(), Keeping()
    keeping.reset()
    assert values(keeping) == values(other) == ([], None, {}, {})
    keeping.batch.append(1)
    assert other.batch == []
    keeping.reset()
    assert keeping.batch == []


@pytest.mark.parametrize("inside", [True, False])
def test_what_is_saved_comes_back_from_a_file_of_plain_types(inside):
    file = io.BytesIO()
    torch.save(Keeping().fill().state_dict(inside), file)
    file.seek(0)
    loaded = Keeping().fill()
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert loaded.batch == []
    assert loaded.step is None
    assert set(loaded.inside) == ({"w"} if inside else set())
    assert loaded.always["m"][1] == 3.0


def test_tensors_are_saved_without_graph_and_moved_wherever_they_are():
    keeping = Keeping()
    keeping.always = {"a": [torch.ones(1, requires_grad=True)]}
    (saved,) = keeping.state_dict()["always"]["a"]
    assert not saved.requires_grad
    (there,) = moved({"a": (saved,)}, torch.device("meta"))["a"]
    assert there.device.type == "meta"


@pytest.mark.parametrize("make", [InfoReg, OGM])
def test_a_method_is_pickled_as_it_is(make):
    method = pickle.loads(pickle.dumps(make()))
    assert repr(method) == repr(make())
    method.reset()


def test_a_callback_is_pickled_as_it_is():
    callback = InfoRegCallback({"a": "a", "v": "v"}, head="head", beta=0.5)
    assert repr(pickle.loads(pickle.dumps(callback))) == repr(callback)
