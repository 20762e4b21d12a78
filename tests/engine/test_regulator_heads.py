"""Unimodal heads that a Regulator makes: in the optimizer that there is, and in its state."""

import copy

import pytest
import torch
from torch import nn

from helpers.loops import SetUp
from helpers.modules import CLASSES, assert_same_weights, heads_of, snapshot
from inforeg_lightning.methods import UnimodalLosses

OWN = SetUp("own heads", epochs=2)


def made(**settings):
    net = OWN.net()
    optimizer = OWN.sgd(net)
    return net, optimizer, OWN.regulator(net, optimizer, **settings)


def epoch(index, net, optimizer, regulator):
    regulator.begin_epoch(index)
    for batch in OWN.batches():
        with regulator.batch(batch):
            loss = net(**batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    regulator.end_epoch()


def test_they_are_trained_as_the_joint_head_and_no_part_of_the_model():
    net, optimizer, regulator = made()
    before = heads_of(regulator)
    assert {n: tuple(p.shape) for n, p in before.items() if n.endswith("weight")} == {
        "audio.weight": (CLASSES, 5),
        "video.weight": (CLASSES, 4),
    }
    assert len(optimizer.param_groups) == 1, "a schedule knows groups by number"
    epoch(0, net, optimizer, regulator)
    after = heads_of(regulator)
    assert all(not torch.equal(before[name], after[name]) for name in before)
    assert {*net.state_dict()} == {*OWN.net().state_dict()}
    assert regulator.history[0]["unimodal_heads"] == "own"
    regulator.close()
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    assert held == {id(p) for p in net.parameters()}
    assert len(optimizer.state) == len(held)


def test_a_state_goes_on_to_the_bit():
    torch.manual_seed(0)
    net, optimizer, regulator = made()
    epoch(0, net, optimizer, regulator)
    parts = (net, optimizer, regulator)
    saved = [copy.deepcopy(part.state_dict()) for part in parts]
    epoch(1, *parts)
    torch.manual_seed(1)
    again = made()
    for part, state in zip(again, saved, strict=True):
        part.load_state_dict(state)
    epoch(1, *again)
    assert_same_weights(snapshot(again[0]), snapshot(net))
    assert_same_weights(heads_of(again[2]), heads_of(regulator))
    assert again[2].history == regulator.history


def test_they_may_be_the_users():
    heads = {"audio": nn.Linear(5, CLASSES).double(), "video": nn.Linear(4, CLASSES).double()}
    before = heads["audio"].weight.detach().clone()
    net, optimizer, regulator = made(method=UnimodalLosses(unimodal_heads=heads))
    epoch(0, net, optimizer, regulator)
    assert regulator.unimodal_heads == heads
    assert not torch.equal(heads["audio"].weight, before)


def test_an_optimizer_without_the_joint_head_is_refused():
    net = OWN.net()
    optimizer = torch.optim.SGD([*net.audio_encoder.parameters()], lr=0.1)
    with pytest.raises(ValueError, match="no optimiser holds the unimodal heads"):
        OWN.regulator(net, optimizer)
