"""Greedy through a Trainer against the authors' program, in words of our own."""

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.comparison import assert_close_weights
from helpers.gated import CHANNELS, PLACES, Gated
from helpers.modules import Late, assert_same_weights, encoder_paths, make_batches, snapshot
from helpers.plain import EPOCHS, SETTINGS
from helpers.regulated import fit
from helpers.resuming import Inside
from helpers.resuming import Resumable as AnyResumable
from inforeg_lightning.callbacks import GreedyCallback

GATES = ("gates_1", "gates_2")


def greedy(modalities=2, **settings):
    given = {"gates": GATES, "tolerance": 0.05, "steps": 3, "window": (1, 4)} | settings
    return GreedyCallback(encoder_paths(modalities), **given)


class Reference:
    """Gates written out, and decisions by numbers on the host.

    The gate of the branch that is cared for is its mean over all batches so far, this one included;
    batches are of one size, so that the mean of batch means is that of all samples.
    """

    def __init__(self, module, tolerance, steps, window):
        self.module, self.tolerance, self.steps, self.window = module, tolerance, steps, window
        self.seen = {(gate, name): [] for gate in GATES for name in module.names}
        self.bypass = dict.fromkeys(module.names, 0.0)
        self.main = dict.fromkeys(module.names, 0.0)
        self.caring, self.done, self.cared_for = None, 0, []

    def exchange(self, gate, z):
        module = getattr(self.module, gate)
        squeezed = torch.cat([v.mean(2) for v in z.values()], 1)
        hidden = torch.relu(squeezed @ module.squeeze.weight.T + module.squeeze.bias)
        gated = {}
        for name, v in z.items():
            layer = module.excite[name][0]
            weight = torch.sigmoid(hidden @ layer.weight.T + layer.bias)
            self.seen[gate, name].append(weight.detach().mean(0))
            if name == self.caring:
                weight = torch.stack(self.seen[gate, name]).mean(0).expand_as(weight)
            gated[name] = v * weight[:, :, None]
        return gated

    def loss(self, batch):
        m = self.module
        z = {n: m.branch(n).first(batch[n]).view(-1, CHANNELS, PLACES) for n in m.names}
        z = {n: m.branch(n).second(v.flatten(1)) for n, v in self.exchange("gates_1", z).items()}
        z = self.exchange("gates_2", {n: v.view(-1, CHANNELS, PLACES) for n, v in z.items()})
        logits = [m.branch(n).classifier(v.flatten(1)) for n, v in z.items()]
        return sum(F.cross_entropy(y, batch["label"]) for y in logits)

    def decide(self, epoch):
        self.cared_for.append(self.caring)
        if self.caring is not None:
            self.done += 1
            if self.done == self.steps:
                self.caring = None
            return
        for name in self.module.names:
            parts = {"weight": [0.0, 0.0], "gradient": [0.0, 0.0]}
            for path, p in self.module.named_parameters():
                is_bypass = path.startswith("gates_")
                if is_bypass and "excite" in path and f"excite.{name}." not in path:
                    continue
                if not is_bypass and not path.startswith(f"{name}_encoder."):
                    continue
                parts["weight"][is_bypass] += float((p.detach() ** 2).sum())
                parts["gradient"][is_bypass] += float((p.grad**2).sum())
            self.main[name] += parts["gradient"][0] / parts["weight"][0]
            self.bypass[name] += parts["gradient"][1] / parts["weight"][1]
        speed = {n: math.log10(self.bypass[n] / self.main[n]) for n in self.module.names}
        highest = max(speed, key=speed.get)
        if speed[highest] - min(speed.values()) > self.tolerance and epoch in self.window:
            self.caring, self.done = highest, 0

    def train(self):
        optimizer, weights = self.module.configure_optimizers(), []
        for epoch in range(EPOCHS):
            if epoch not in self.window:
                self.caring = None
            for batch in self.module.batches:
                optimizer.zero_grad(set_to_none=False)  # as it was when their program was written
                self.loss(batch).backward()
                self.decide(epoch)
                optimizer.step()
            weights.append(snapshot(self.module))
        return weights


@pytest.mark.parametrize("modalities", [2, 3])
def test_every_weight_is_that_of_the_formula(modalities):
    batches = make_batches(modalities)
    reference = Reference(Gated(modalities, batches, **SETTINGS), 0.05, 3, range(1, 4))
    theirs = reference.train()
    inside = [name is not None for name in reference.cared_for[4:16]]
    assert any(inside), "some steps must rebalance"
    assert not all(inside), "and some must not"
    callback = greedy(modalities)
    ours = fit(Gated(modalities, batches, **SETTINGS), callback, max_epochs=EPOCHS)
    assert_close_weights(ours["weights"], theirs)
    for epoch, entry in enumerate(callback.history[:4]):
        names = reference.cared_for[4 * epoch : 4 * epoch + 4]
        shares = {name: names.count(name) / 4 for name in ours["module"].names}
        assert entry["rebalanced"] == pytest.approx(shares)
    balance = callback.method.balance
    assert balance["encoder"].tolist() == pytest.approx([*reference.main.values()], rel=1e-9)
    assert balance["fusion"].tolist() == pytest.approx([*reference.bypass.values()], rel=1e-9)
    plain = fit(Gated(modalities, batches, **SETTINGS), None, max_epochs=EPOCHS)
    assert max((plain["weights"][-1][n] - w).abs().max() for n, w in theirs[-1].items()) > 1e-3


def test_a_window_that_never_opens_leaves_every_bit():
    never = fit(Gated(), greedy(window="never"), max_epochs=2)
    assert_same_weights(never["weights"][-1], fit(Gated(), None, max_epochs=2)["weights"][-1])
    assert never["history"][-1]["speed"]["audio"] != never["history"][-1]["speed"]["video"]
    assert not any(p._forward_hooks for p in never["module"].modules())


class Resumable(AnyResumable, Gated):
    """With a loader that remembers its place."""


# Lightning's, when the Trainer that goes on has no ModelCheckpoint; and torchdata 0.11.
@pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")
def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    settings = {"window": "always", "tolerance": 0.0, "steps": 5}
    inside = Inside(tmp_path, every=4)
    whole = fit(Resumable(), greedy(**settings), inside, max_epochs=2, enable_checkpointing=True)
    path = tmp_path / "step=4.ckpt"  # while the gates of one branch are constant
    torch.load(path, weights_only=True)
    callback = greedy(**settings)
    resumed = fit(Resumable(), callback, max_epochs=2, ckpt_path=path)
    assert callback.history == whole["history"]
    assert_same_weights(resumed["weights"][-1], whole["weights"][-1])


@pytest.mark.parametrize(
    ("module", "settings", "message"),
    [
        (Gated, {"gates": "nowhere"}, "`gates` is 'nowhere', but Gated has no such attribute"),
        (Late, {"gates": "head"}, "`gates` names 'head', a Linear, which must have an attribute"),
        (Gated, {"gates": ()}, "`gates` must be the attribute path of a gating module"),
        (Gated, {"tolerance": -1.0}, "`tolerance` must be from 0"),
        (Gated, {"steps": 0}, "`steps` must be a whole number of optimiser steps"),
    ],
)
def test_what_cannot_be_is_one_clear_error(module, settings, message):
    with pytest.raises((ValueError, TypeError), match=message):
        fit(module(), greedy(**settings), max_epochs=1)


def test_a_gate_without_a_modality_is_refused():
    module = Gated(3)
    module.gates_2 = Gated(2).gates_2
    with pytest.raises(ValueError, match=r"but has \['audio', 'video'\]"):
        fit(module, greedy(3), max_epochs=1)
