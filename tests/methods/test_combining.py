"""Two methods on one Trainer: refused, unless both say that it is meant."""

import itertools

import lightning.pytorch as L
import pytest
import torch

from helpers.methods import METHODS, every_method
from helpers.modules import Late, assert_same_weights, snapshot
from helpers.regulated import fit
from inforeg_lightning import InfoRegCallback
from inforeg_lightning.callbacks import OGMCallback

# Each method beside six others, whichever stands at these distances in the list; all are slow.
NEAR = {(i, (i + step) % len(METHODS)) for i in range(len(METHODS)) for step in (1, 4, 7)}
PAIRS = [
    pytest.param(METHODS[i], METHODS[j], marks=[] if {(i, j), (j, i)} & NEAR else pytest.mark.slow)
    for i, j in itertools.combinations(range(len(METHODS)), 2)
]
every_pair = pytest.mark.parametrize(("one", "other"), PAIRS, ids=str)


@pytest.mark.parametrize(("one", "other"), [*itertools.pairwise(METHODS)], ids=str)
def test_two_are_refused_unless_both_allow_it(one, other):
    names = f"{one.of.__name__} and {other.of.__name__}, which would both edit"
    with pytest.raises(ValueError, match=names):
        fit(Late(), one(), other())
    with pytest.raises(ValueError, match="both edit"):
        fit(Late(), one(combine=True), other())
    with pytest.raises(ValueError, match="both edit"):
        fit(Late(), one(), other(combine=True))


@every_pair
def test_two_that_allow_it_train(one, other):
    # Heads of their own would stand at the same place in the module.
    shared = {"unimodal_heads": "shared"} if one.makes_heads and other.makes_heads else {}
    first, second = one(combine=True), other(combine=True, **shared)
    module = Late()
    fit(module, first, second, max_epochs=1)
    assert all(p.isfinite().all() for p in module.parameters())
    for callback in (first, second):
        assert [entry["skipped"] for entry in callback.history] == [0]


@every_method
def test_one_that_only_measures_may_stand_beside_any(method):
    measuring = next(m for m in METHODS if m.of is not method.of)(window="never")
    alone, beside = method(), method()
    expected = fit(Late(), alone, max_epochs=2)["weights"]
    for callbacks in ([measuring, beside], [beside, measuring]):
        ours = fit(Late(), *callbacks, max_epochs=2)["weights"]
        assert_same_weights(ours[-1], expected[-1])
        assert beside.history == alone.history


class Watch(L.Callback):
    """Gradients and weights when its turn comes in a step."""

    def __init__(self):
        self.gradients, self.weights = [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.gradients.append({n: p.grad.clone() for n, p in pl_module.named_parameters()})
        self.weights.append(snapshot(pl_module))


@pytest.mark.parametrize("ogm_first", [True, False])
def test_edits_are_made_in_the_trainers_order(ogm_first):
    """OGM scales what it finds and InfoReg adds a pull: k g + p one way, k (g + p) the other."""
    paths = {"audio": "audio_encoder", "video": "video_encoder"}
    ogm = OGMCallback(paths, "head", alpha=0.5, combine=True)
    inforeg = InfoRegCallback(paths, "head", window="always", combine=True)
    watches = Watch(), Watch(), Watch()
    first, second = (ogm, inforeg) if ogm_first else (inforeg, ogm)
    callbacks = [watches[0], first, watches[1], second, watches[2]]
    fit(Late(), None, callbacks=callbacks, max_epochs=1)
    name, step = "audio_encoder.0.weight", 3
    before, between, after = (watch.gradients[step][name] for watch in watches)
    moved = watches[0].weights[step][name] - watches[0].weights[0][name]

    def is_multiple(ours, of):
        factors = ours / of
        assert torch.allclose(factors, factors.flatten()[0].expand_as(factors), rtol=1e-9)
        assert not torch.equal(ours, of)

    if ogm_first:
        is_multiple(between, before)
        is_multiple(after - between, moved)
    else:
        is_multiple(between - before, moved)
        is_multiple(after, between)
