"""Probes that need no test set, and agreement of gradients."""

import math

import pytest
import torch
import torch.nn.functional as F

from inforeg_lightning.core.monitor import agreement, pooled, probe_hits


def drawn(samples, width, strength, seed=0):
    generator = torch.Generator().manual_seed(seed)
    target = torch.arange(samples) % 3
    x = torch.randn(samples, width, generator=generator, dtype=torch.float64)
    x[:, :3] += strength * F.one_hot(target, 3)
    return x, target


@pytest.mark.parametrize("width", [4, 40])
def test_a_probe_is_ridge_regression_without_the_sample_that_it_tests(width):
    """The slow way: an intercept without penalty, and one fit per sample that is left out."""
    x, target = drawn(24, width, strength=1.0)
    hits = probe_hits(x, target)
    x = (x - x.mean(dim=0)) / x.std(dim=0)
    classes = F.one_hot(target).double()
    best = None
    for ridge in (0.01, 0.1, 1.0, 10.0):
        penalty = ridge * torch.linalg.svdvals(x).square().sum() / min(x.shape)
        full = torch.cat([x, torch.ones(24, 1)], dim=1)
        diagonal = torch.diag(torch.tensor([float(penalty)] * width + [0.0], dtype=x.dtype))
        without = []
        for i in range(24):
            kept = torch.arange(24) != i
            a, b = full[kept], classes[kept]
            without.append(full[i] @ torch.linalg.solve(a.T @ a + diagonal, a.T @ b))
        error = (classes - torch.stack(without)).square().mean()
        if best is None or error < best[0]:
            best = error, torch.stack(without).argmax(dim=1) == target
    assert torch.equal(hits, best[1])


def test_a_probe_of_noise_knows_nothing_though_it_could_fit_it():
    x, target = drawn(150, 200, strength=0.0)
    assert probe_hits(x, target).double().mean() < 1 / 3 + 3 * math.sqrt(2 / 9 / 150)


def test_a_probe_survives_constant_features():
    assert probe_hits(torch.ones(30, 4), torch.arange(30) % 3).shape == (30,)


def test_gradients_of_one_direction_agree():
    x = torch.tensor([1.0, 2.0, -1.0])
    assert agreement(x, 3 * x) == pytest.approx(1)
    assert agreement(x, -x) == pytest.approx(-1)
    assert agreement(x, torch.tensor([2.0, -1.0, 0.0])) == pytest.approx(0, abs=1e-7)


def test_gradients_that_are_not_there_have_no_agreement():
    x = torch.ones(3)
    assert agreement(x, torch.zeros(3)) is None
    assert agreement(x, x * torch.nan) is None
    assert agreement(x, x * torch.inf) is None


def test_maps_sequences_and_frames_become_one_vector_per_sample():
    maps = torch.arange(2 * 3 * 4.0).reshape(2, 3, 2, 2)
    assert torch.equal(pooled([maps], 2), maps.mean(dim=(2, 3)))
    tokens = torch.arange(2 * 5 * 3.0).reshape(2, 5, 3)
    assert torch.equal(pooled([tokens], 2), tokens.mean(dim=1))
    frames = torch.arange(6 * 3.0).reshape(6, 3)  # three per sample
    assert torch.equal(pooled([frames], 2), frames.reshape(2, 3, 3).mean(dim=1))
    assert pooled([frames, tokens], 2).shape == (2, 6)
    assert pooled([torch.ones(3, 2)], 2) is None
