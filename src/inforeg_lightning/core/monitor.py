"""What a monitor measures: probes that need no test set, and agreement of gradients."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

_RIDGES = (0.01, 0.1, 1.0, 10.0)
"""Penalties that are tried, in units of the mean squared singular value of the features."""


def pooled(parts: Sequence[Tensor], samples: int) -> Tensor | None:
    """The features of a modality as one vector per sample, at least float32.

    Maps are averaged over space and sequences over time; frames that are folded into the batch are
    averaged too, and several parts stand beside each other.

    Args:
        parts: Each of shape ``(B, ...)``, or ``(B · T, ...)``.
        samples: Their number B.

    Returns:
        Shape ``(B, D)``; ``None`` if no part is made of samples.
    """
    found = []
    for part in parts:
        if not part.dim() or not samples or part.shape[0] % samples or not part.shape[0]:
            continue
        x = part.float() if part.dtype in (torch.float16, torch.bfloat16) else part
        if x.dim() > 3:
            x = x.flatten(2).mean(dim=2)
        elif x.dim() == 3:
            x = x.mean(dim=1)
        found.append(x.reshape(samples, part.shape[0] // samples, -1).mean(dim=1))
    return torch.cat(found, dim=1) if found else None


def probe_hits(features: Tensor, target: Tensor) -> Tensor:
    """Which samples a linear probe that was fitted to all others classifies rightly.

    The probe is ridge regression onto the classes. Leaving one sample out has a closed form, so
    that every sample tests a probe that has not seen it, at the price of one eigendecomposition
    and without drawing anything. The penalty is the one of the smallest squared error.

    Args:
        features: Shape ``(N, D)``, finite.
        target: Class indices, shape ``(N,)``.

    Returns:
        Shape ``(N,)``, bool.
    """
    x = features.double()
    x = x - x.mean(dim=0)
    x = x / x.std(dim=0).clamp(min=1e-6 * float(x.std()) + 1e-12)
    if len(x) <= x.shape[1]:
        squared, left = torch.linalg.eigh(x @ x.T)
    else:
        squared, right = torch.linalg.eigh(x.T @ x)
        left = x @ right / squared.clamp(min=1e-12).sqrt()
    squared = squared.clamp(min=0)
    classes = F.one_hot(target).to(x.dtype)
    centre = 1 / len(x)  # the mean of the classes is fitted too, without a penalty
    best, hits = torch.inf, torch.zeros(len(x), dtype=torch.bool, device=x.device)
    for ridge in _RIDGES:
        shrunk = squared / (squared + ridge * squared.mean().clamp(min=1e-12))
        fitted = classes.mean(dim=0) + (left * shrunk) @ (left.T @ (classes - classes.mean(dim=0)))
        leverage = centre + (left.square() * shrunk).sum(dim=1)
        without = classes - (classes - fitted) / (1 - leverage).clamp(min=1e-6)[:, None]
        error = float((classes - without).square().mean())
        if error < best:
            best, hits = error, without.argmax(dim=1) == target
    return hits


def agreement(one: Tensor, other: Tensor) -> float | None:
    """Cosine of two gradients of the same loss over disjoint samples.

    Args:
        one: Flattened.
        other: Flattened.

    Returns:
        From -1 to 1; ``None`` where one is zero or not finite.
    """
    length = torch.linalg.vector_norm(one) * torch.linalg.vector_norm(other)
    cosine = float(one @ other / length)
    return cosine if float(length) > 0 and cosine == cosine else None
