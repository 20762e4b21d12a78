"""Compiled modules and encoders: the hooks fire, and nothing is compiled again in later epochs."""

import pytest
import torch
from torch._dynamo.utils import counters

from helpers.comparison import assert_close, assert_opens_and_closes
from helpers.modules import Late, encoder_paths, snapshot
from helpers.regulated import fit, inforeg
from inforeg_lightning import InfoRegCallback, callbacks

# torch's own, when a compiled module is called with an input that is not a leaf of the graph.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")


class Counting(Late):
    """Remembers after every epoch how many graphs have been compiled."""

    def on_train_epoch_end(self) -> None:
        super().on_train_epoch_end()
        self.graphs = [*getattr(self, "graphs", []), counters["stats"]["unique_graphs"]]


def whole(backend: str) -> tuple[Late, torch.nn.Module]:
    module = Counting()
    return module, torch.compile(module, backend=backend)


def encoders(backend: str) -> tuple[Late, None]:
    module = Counting()
    for path in encoder_paths().values():
        setattr(module, path, torch.compile(getattr(module, path), backend=backend))
    return module, None


def in_place(backend: str) -> tuple[Late, None]:
    module = Counting()
    for path in encoder_paths().values():
        getattr(module, path).compile(backend=backend)
    return module, None


def with_head(backend: str) -> tuple[Late, None]:
    module, _ = in_place(backend)
    module.head.compile(backend=backend)
    return module, None


def release() -> tuple[int, ...]:
    """Of torch."""
    return tuple(map(int, torch.__version__.split(".")[:2]))


@pytest.fixture(autouse=True)
def _fresh():
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


@pytest.fixture(scope="module")
def eager():
    result = fit(Late(), inforeg())
    assert_opens_and_closes(result["history"])
    return result


def _named(result):
    """With the names that the weights have where nothing is compiled."""
    weights = [
        {name.replace("_orig_mod.", ""): p for name, p in epoch.items()}
        for epoch in result["weights"]
    ]
    return result | {"weights": weights}


@pytest.mark.parametrize("compiled", [whole, encoders, in_place, with_head])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_module_trains_as_it_does_without(eager, compiled, backend):
    module, outer = compiled(backend)
    result = fit(module, inforeg(), compiled=outer)
    assert_close(_named(result), eager)
    # torch 2.9 runs a module that is compiled in place, and has hooks that are not, as it is.
    if outer is not None or compiled is encoders or release() >= (2, 14):
        assert module.graphs[0] > 0, "nothing was compiled"
    assert module.graphs == [module.graphs[0]] * len(module.graphs)


@pytest.mark.slow
def test_inductor_on_the_whole_module(eager):
    module, outer = whole("inductor")
    result = fit(module, inforeg(), compiled=outer)
    assert_close(result, eager)
    assert module.graphs == [module.graphs[0]] * len(module.graphs)


def test_an_official_callback_finds_the_layers_of_a_compiled_encoder():
    module, _ = encoders("eager")
    callback = InfoRegCallback.official(encoder_paths(), head="head")
    fit(module, callback, max_epochs=1)
    plain = InfoRegCallback.official(encoder_paths(), head="head")
    fit(Late(), plain, max_epochs=1)
    assert callback.history[0]["trace"] == pytest.approx(plain.history[0]["trace"], rel=1e-12)


@pytest.mark.parametrize("compiled", [whole, encoders, in_place, with_head])
@pytest.mark.parametrize("first", [None, "ModalityDropoutCallback", "InfoRegCallback"])
def test_hooks_that_come_after_compilation_are_called(eager, compiled, first):
    module, outer = compiled("eager")
    begun = snapshot(module)
    callback = first and getattr(callbacks, first)(encoder_paths(), head="head")
    fit(module, callback, compiled=outer, max_epochs=1)
    module.load_state_dict(begun)
    module.epoch_weights.clear()
    assert_close(_named(fit(module, inforeg(), compiled=outer)), eager)
