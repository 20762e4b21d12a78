"""The monitor in a loop of one's own, and its sums over processes."""

import pytest
import torch
import torch.nn.functional as F

from helpers.modules import Late, assert_same_weights, encoder_paths, make_batches, snapshot
from inforeg_lightning import Regulator
from inforeg_lightning.engine.distributed import Processes
from inforeg_lightning.methods import Monitor


class Twins(Processes):
    """Two processes with the same batches: what is summed doubles, and no share may change."""

    size = 2

    def sum(self, tensor):
        return 2 * tensor


def looped(method=None, processes=None):
    model = Late()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    history = []
    if method is None:
        for _ in range(2):
            for batch in model.batches:
                optimizer.zero_grad()
                F.cross_entropy(model(batch), batch["label"]).backward()
                optimizer.step()
        return model, history
    regulator = Regulator(model, optimizer, encoder_paths(), method, head="head", target="label")
    for epoch in range(2):
        regulator.begin_epoch(epoch)
        if processes is not None:
            regulator.engine.processes = method.context.processes = processes
            object.__setattr__(method.context, "processes", processes)
        for batch in model.batches:
            optimizer.zero_grad()
            with regulator.batch(batch):
                loss = F.cross_entropy(model(batch), batch["label"])
            loss.backward()
            optimizer.step()
        regulator.end_epoch()
        model.eval()
        with regulator.validation(), torch.no_grad():
            for batch in make_batches(size=16, batches=3, seed=1):
                with regulator.batch(batch):
                    model(batch)
        model.train()
    regulator.close()
    return model, regulator.history


def test_a_loop_of_ones_own_trains_as_without_it_and_is_measured():
    model, history = looped(Monitor())
    other, _ = looped()
    assert_same_weights(snapshot(model), snapshot(other))
    for entry in history:
        assert entry["samples"] == 48
        assert None not in {*entry["share"].values(), *entry["agreement"].values()}
        assert None not in {*entry["probe"].values(), *entry["drop"].values()}


def test_every_number_is_of_all_processes():
    _, alone = looped(Monitor())
    _, twins = looped(Monitor(), Twins())
    for one, two in zip(alone, twins, strict=True):
        assert two["samples"] == 2 * one["samples"]
        for quantity in ("share", "agreement", "probe", "drop"):
            assert two[quantity] == pytest.approx(one[quantity])
        assert two["fused"] == pytest.approx(one["fused"])


def test_share_and_agreement_are_what_their_formulas_say():
    """In plain autograd, of the first epoch's batches at the weights that each was trained at."""
    _, history = looped(Monitor(batches=4))
    model = Late()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    shares, sides = [], {}
    for index, batch in enumerate(model.batches):
        z = model.features(batch)
        logits = model.head(torch.cat([*z.values()], dim=1))
        y = F.one_hot(batch["label"], 3)
        fused = (logits.softmax(1) - y).norm(dim=1).mean()
        start, row = 0, {}
        for modality, features in z.items():
            columns = model.head.weight[:, start : start + features.shape[1]]
            start += features.shape[1]
            own = features @ columns.T + model.head.bias / 2
            row[modality] = (fused / (own.softmax(1) - y).norm(dim=1).mean()).item()
            encoder = [*getattr(model, f"{modality}_encoder").parameters()]
            loss = F.cross_entropy(own, batch["label"])
            grad = torch.autograd.grad(loss, encoder, retain_graph=True)
            flat = torch.cat([g.flatten() for g in grad])
            key = modality, index % 2
            sides[key] = sides.get(key, 0) + flat
        shares.append(row)
        optimizer.zero_grad()
        F.cross_entropy(logits, batch["label"]).backward()
        optimizer.step()
    for modality in ("audio", "video"):
        expected = sum(min(row[modality], 1) for row in shares) / len(shares)
        assert history[0]["share"][modality] == pytest.approx(expected)
        cosine = torch.cosine_similarity(sides[modality, 0], sides[modality, 1], dim=0)
        assert history[0]["agreement"][modality] == pytest.approx(float(cosine))


def test_a_target_that_is_no_class_is_refused_in_one_sentence():
    model = Late()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    regulator = Regulator(model, optimizer, encoder_paths(), Monitor(), head="head")
    regulator.begin_epoch(0)
    batch = model.batches[0]
    with (
        pytest.raises(ValueError, match="a monitor is for classes"),
        regulator.batch(torch.rand(8, 7)),
    ):
        model(batch)
    regulator.close()
