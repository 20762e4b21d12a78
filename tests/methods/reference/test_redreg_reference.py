"""RedReg through a Trainer against a plain loop, written from the authors' ``main_RedReg.py``."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.comparison import assert_close_weights
from helpers.modules import CLASSES, Late, encoder_paths, make_batches, names, snapshot
from helpers.reference import true_class
from helpers.regulated import fit
from inforeg_lightning.callbacks import RedRegCallback
from inforeg_lightning.methods import RedReg

EPOCHS, WIDTH, STEPS, NOISE = 3, 4, 10, 0.03
THRESHOLD, AGREEMENT = 1.6, (-0.2, 0.2)
"""Chosen so that monitor and gate both open and close; the authors' leave them open."""


class Equal(Late):
    """Features of equal width, and a classifier per modality."""

    def __init__(self, modalities=2):
        super().__init__(modalities, make_batches(modalities, batches=13, size=6), lr=0.05)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            for name in names(modalities):
                setattr(self, f"{name}_classifier", nn.Linear(WIDTH, CLASSES).double())

    def make_encoder(self, inputs, width):
        return super().make_encoder(inputs, WIDTH)

    def make_head(self, width):
        return super().make_head(WIDTH * {9: 2, 12: 3}[width])


class WithBatchNorm(Equal):
    def make_encoder(self, inputs, width):
        return nn.Sequential(nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 4))


def growth_rate(scores):
    if len(scores) <= STEPS:
        return 1.0
    newer, older = sum(scores[-STEPS:]) / STEPS, sum(scores[-STEPS - 1 : -1]) / STEPS
    return (newer - older) / (abs(older) + 1e-12)


@torch.no_grad()
def redundancy(encoder, x, draw):
    one, other = x + draw(x), x + draw(x)
    encoder.eval()
    change = (encoder(one) - encoder(other)).square().mean()
    encoder.train()
    return float(change / ((one - other).square().mean() + 1e-12))


def redreg_loop(module, *, threshold, agreement, noise=NOISE):
    """Parameters after each epoch, and what was decided in each step."""
    optimizer, weights, decided, step = module.configure_optimizers(), [], [], 0
    for epoch in range(EPOCHS):
        anchors = snapshot(module)
        scores, running = {n: [] for n in module.names}, dict.fromkeys(module.names, 0.0)
        needed = agreement[0] + (agreement[1] - agreement[0]) * epoch / (EPOCHS - 1)
        for batch in module.batches:
            label, features, excess = batch["label"], module.features(batch), {}
            logits = {n: getattr(module, f"{n}_classifier")(z) for n, z in features.items()}
            for n, z in logits.items():
                scores[n].append(true_class(z.softmax(1), label).mean().item())
                generator = torch.Generator().manual_seed(step)
                ratio = 1.0
                if noise:
                    red = redundancy(
                        getattr(module, f"{n}_encoder"),
                        batch[n],
                        lambda x, g=generator: (
                            noise * torch.randn(x.shape, generator=g, dtype=x.dtype)
                        ),
                    )
                    running[n] = 0.9 * running[n] + 0.1 * red
                    ratio = red / (running[n] + 1e-12)
                excess[n] = ratio - 0.6 * max(growth_rate(scores[n]), 0.0)
            step += 1
            losses = [module.head(torch.cat([*features.values()], 1)), *logits.values()]
            optimizer.zero_grad()
            sum(F.cross_entropy(z, label) for z in losses).backward()
            strong = max(module.names, key=lambda n: scores[n][-1])
            others = [n for n in module.names if n != strong]
            lead = sum(scores[strong][-1] - scores[n][-1] for n in others) / len(others)
            unit = {n: F.normalize(z.detach(), dim=1) for n, z in features.items()}
            cosines = [(unit[strong] @ unit[n].T).diag().mean() for n in others]
            is_redundant = excess[strong] > threshold
            agrees = float(sum(cosines) / len(others)) > needed
            decided.append((strong, is_redundant, agrees))
            if is_redundant and agrees:
                beta = math.exp(0.9 * math.tanh(lead))
                for name, p in module.named_parameters():
                    if name.startswith(f"{strong}_encoder"):
                        d, g = p.detach() - anchors[name], p.grad
                        p.grad = g + beta * (d - (d * g).sum() / ((g * g).sum() + 1e-12) * g)
            optimizer.step()
        weights.append(snapshot(module))
    return weights, decided


def redreg(modalities=2, **settings):
    return RedRegCallback(
        encoder_paths(modalities),
        head="head",
        agreement_periods=EPOCHS,
        unimodal_heads={name: f"{name}_classifier" for name in names(modalities)},
        **settings,
    )


@pytest.fixture(autouse=True)
def _draws_are_known(monkeypatch):
    """The noise of step n is what a generator with seed n draws."""

    def generator(self, device):
        return torch.Generator(device).manual_seed(self._draws)

    monkeypatch.setattr(RedReg, "_generator", generator)


@pytest.mark.parametrize(("kind", "modalities"), [(Equal, 3), (WithBatchNorm, 2)])
def test_every_weight_of_every_epoch_is_that_of_the_formula(kind, modalities):
    settings = {"threshold": THRESHOLD, "agreement": AGREEMENT}
    theirs, decided = redreg_loop(kind(modalities), **settings)
    for which in zip(*decided, strict=True):
        assert len({*which}) > 1, "what is decided must change"
    ours = fit(kind(modalities), redreg(modalities, **settings), max_epochs=EPOCHS)
    assert_close_weights(ours["weights"], theirs)


def test_without_noise_redundancy_counts_as_usual():
    settings = {"threshold": 0.5, "agreement": AGREEMENT, "noise": 0}
    theirs, decided = redreg_loop(Equal(), **settings)
    assert len({is_redundant for _, is_redundant, _ in decided}) > 1
    ours = fit(Equal(), redreg(**settings), max_epochs=EPOCHS)
    assert_close_weights(ours["weights"], theirs)
