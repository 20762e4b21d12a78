"""Training through a Trainer against a plain loop that leaves the penalty to autograd."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.modules import CLASSES, WIDTHS, Late, encoder_paths, make_batches, snapshot
from helpers.plain import NETS, Normed
from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback, report_unimodal
from inforeg_lightning.core import GAPS

EPOCHS = 6


def unimodal_logits(module, features):
    """z_m W_mᵀ + c / M, column by column of the head."""
    logits, start = {}, 0
    for name, z in features.items():
        block = module.head.weight[:, start : start + z.shape[1]]
        logits[name] = z @ block.T + module.head.bias / len(features)
        start += z.shape[1]
    return logits


def squared_gradient(encoder):
    return sum(float((p.grad**2).sum()) for p in encoder.parameters())


def penalty(encoder, anchor):
    return 0.5 * sum(
        ((p - a) ** 2).sum() for p, a in zip(encoder.parameters(), anchor, strict=True)
    )


def lead(score, name, over="weaker"):
    """By how much a modality leads, which is nothing for one that is not to be held back."""
    others = [other for n, other in score.items() if n != name]
    if over == "strongest":
        return max(score[name] - max(others), 0.0)
    of = [score[name] - s for s in others if s < score[name] or over == "others"]
    return max(sum(of) / len(of), 0.0) if of else 0.0


def paper_loop(module, batches, beta, K, over="weaker", throughout=False):
    """Equations 5 to 16 and 26, one by one. Returns weights and windows by epoch."""
    optimizer = module.configure_optimizers()
    encoders = {name: getattr(module, f"{name}_encoder") for name in module.names}
    traces = {name: [] for name in module.names}
    weights, windows = [], []
    for epoch in range(EPOCHS):
        window = {
            name: throughout or (epoch >= 2 and (trace[-1] - trace[-2]) / trace[-1] > K)
            for name, trace in traces.items()
        }
        anchors = {n: [p.detach().clone() for p in e.parameters()] for n, e in encoders.items()}
        steps = {name: [] for name in module.names}
        for batch in batches:
            features = module.features(batch)
            loss = F.cross_entropy(
                module.head(torch.cat(list(features.values()), 1)), batch["label"]
            )
            optimizer.zero_grad()
            loss.backward(retain_graph=True)
            for name, encoder in encoders.items():
                steps[name].append(squared_gradient(encoder))
            score = {}
            for name, logits in unimodal_logits(module, features).items():
                log_p = F.log_softmax(logits.detach(), dim=1)
                score[name] = float(log_p[torch.arange(len(log_p)), batch["label"]].mean())
            total = loss
            for name in module.names:
                gap = torch.tensor(lead(score, name, over), dtype=torch.float64)
                if gap > 0 and window[name]:
                    alpha = torch.exp(beta * torch.tanh(gap))
                    total = total + alpha * penalty(encoders[name], anchors[name])
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        for name in module.names:
            traces[name].append(sum(steps[name]) / len(steps[name]))
        weights.append(snapshot(module))
        windows.append(window)
    return weights, windows, traces


class WithClassifiers(Normed):
    """A classifier per modality, by whose losses and scores the program of March 2025 goes."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.classifiers = nn.ModuleDict(
                {n: nn.Linear(WIDTHS[n][1], CLASSES, dtype=torch.float64) for n in self.names}
            )

    def unimodal(self, features):
        return {name: self.classifiers[name](z) for name, z in features.items()}

    def loss(self, features, logits, label):
        fused = F.cross_entropy(self.head(torch.cat(list(features.values()), 1)), label)
        return fused + sum(F.cross_entropy(z, label) for z in logits.values())

    def training_step(self, batch, batch_idx):
        features = self.features(batch)
        logits = self.unimodal(features)
        report_unimodal(self, logits, batch["label"])
        return self.loss(features, logits, batch["label"])


def official_loop(module, batches, strength, gate, K):
    """The published code's column of the specification's table."""
    own = isinstance(module, WithClassifiers)
    optimizer = module.configure_optimizers()
    encoders = {name: getattr(module, f"{name}_encoder") for name in module.names}
    traces = {name: [0.0] * 10 for name in module.names}
    weights, windows = [], []
    for epoch in range(EPOCHS):
        is_open = epoch == 0
        if epoch > 0:
            newest, previous = sum(traces[gate][-10:]) / 10, sum(traces[gate][-11:-1]) / 10
            is_open = (newest - previous) / newest > K
        anchors = {n: [p.detach().clone() for p in e.parameters()] for n, e in encoders.items()}
        squares = {
            name: {layer: torch.zeros(()) for layer in encoder if isinstance(layer, nn.Linear)}
            for name, encoder in encoders.items()
        }
        for batch in batches:
            features = module.features(batch)
            logits = module.unimodal(features) if own else unimodal_logits(module, features)
            if own:
                loss = module.loss(features, logits, batch["label"])
            else:
                loss = F.cross_entropy(
                    module.head(torch.cat(list(features.values()), 1)), batch["label"]
                )
            score = {
                name: sum(p[y] for p, y in zip(z.detach().softmax(1), batch["label"], strict=True))
                for name, z in logits.items()
            }
            optimizer.zero_grad()
            strongest = max(score, key=lambda name: float(score[name]))
            if is_open:
                others = [float(score[strongest] - s) for n, s in score.items() if n != strongest]
                factor = strength[module.names.index(strongest)]
                gap = torch.tensor(sum(others) / len(others), dtype=torch.float64)
                beta = factor * torch.exp(torch.tanh(gap))
                loss = loss + beta * penalty(encoders[strongest], anchors[strongest])
            loss.backward()
            for layers in squares.values():
                for layer in layers:
                    layers[layer] = layers[layer] + layer.weight.grad**2
            optimizer.step()
        for name, layers in squares.items():
            traces[name].append(sum(float(total.mean()) for total in layers.values()))
        weights.append(snapshot(module))
        windows.append(is_open)
    return weights, windows, {name: trace[10:] for name, trace in traces.items()}


def assert_close(ours, theirs):
    assert len(ours) == len(theirs) == EPOCHS
    for epoch, (mine, reference) in enumerate(zip(ours, theirs, strict=True)):
        for name in reference:
            torch.testing.assert_close(
                mine[name], reference[name], rtol=0, atol=1e-10, msg=f"epoch {epoch}: {name}"
            )


SETTINGS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3}


def train(callback, modalities, batches, kind=Late):
    module = kind(modalities, batches, **SETTINGS)
    quiet_trainer(max_epochs=EPOCHS, callbacks=[callback] if callback else []).fit(module)
    return module


@NETS
def test_every_weight_of_every_epoch_is_that_of_the_paper(modalities, kind):
    batches = make_batches(modalities)
    theirs, windows, traces = paper_loop(
        kind(modalities, batches, **SETTINGS), batches, beta=0.7, K=0.02
    )
    strongest = [window["audio"] for window in windows]
    assert True in strongest, "the window must open ..."
    assert False in strongest[strongest.index(True) :], "... and close again"

    callback = InfoRegCallback(encoder_paths(modalities), head="head", beta=0.7, K=0.02)
    module = train(callback, modalities, batches, kind)

    assert_close(module.epoch_weights, theirs)
    assert [entry["in_window"] for entry in callback.history] == windows
    for name, trace in traces.items():
        assert [e["trace"][name] for e in callback.history] == pytest.approx(trace, rel=1e-12)


@pytest.mark.parametrize("over", GAPS)
def test_every_weight_of_every_epoch_is_that_of_the_gap(over):
    batches = make_batches(3)
    theirs, _, _ = paper_loop(
        Normed(3, batches, **SETTINGS), batches, beta=0.7, K=0.02, over=over, throughout=True
    )
    callback = InfoRegCallback(encoder_paths(3), head="head", beta=0.7, window="always", gap=over)
    module = train(callback, 3, batches, Normed)
    assert_close(module.epoch_weights, theirs)


def test_the_gaps_are_different_trainings():
    batches = make_batches(3)
    found = [
        train(
            InfoRegCallback(encoder_paths(3), head="head", window="always", gap=over), 3, batches
        ).epoch_weights[-1]
        for over in GAPS
    ]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert max(float((found[one][n] - found[other][n]).abs().max()) for n in found[0]) > 1e-3


@pytest.mark.parametrize(
    ("modalities", "gate", "K", "kind"),
    [(2, "audio", 0.4, Late), (2, "video", 0.4, Normed), (3, "audio", 0.3, Normed)],
)
def test_every_weight_of_every_epoch_is_that_of_the_published_code(modalities, gate, K, kind):
    batches = make_batches(modalities)
    strength = dict(zip(encoder_paths(modalities), (0.95, 0.1, 0.5), strict=False))
    theirs, windows, traces = official_loop(
        kind(modalities, batches, **SETTINGS), batches, [*strength.values()], gate, K=K
    )
    assert True in windows
    assert False in windows, "the window must close"

    callback = InfoRegCallback.official(
        encoder_paths(modalities), head="head", strength=strength, gate=gate, K=K
    )
    module = train(callback, modalities, batches, kind)

    assert_close(module.epoch_weights, theirs)
    for name, trace in traces.items():
        assert [e["in_window"][name] for e in callback.history] == windows
        assert [e["trace"][name] for e in callback.history] == pytest.approx(trace, rel=1e-12)


def test_every_weight_of_every_epoch_is_that_of_the_program_of_march():
    batches = make_batches()
    module = WithClassifiers(2, batches, **SETTINGS)
    theirs, windows, _ = official_loop(module, batches, [0.95, 0.0], "audio", K=0.4)
    assert True in windows
    assert False in windows, "the window must close"

    march = InfoRegCallback.official(encoder_paths(), release="2025-03", K=0.4)
    ours = train(march, 2, batches, WithClassifiers)

    assert_close(ours.epoch_weights, theirs)
    assert [entry["in_window"]["audio"] for entry in march.history] == windows


def test_the_comparison_can_fail():
    batches = make_batches()
    with_pull = train(InfoRegCallback(encoder_paths(), head="head", window="always"), 2, batches)
    without = train(None, 2, batches)
    difference = max(
        float((with_pull.epoch_weights[-1][n] - without.epoch_weights[-1][n]).abs().max())
        for n in without.epoch_weights[-1]
    )
    assert difference > 1e-3
