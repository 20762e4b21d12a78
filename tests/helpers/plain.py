"""Plain training loops that methods are held against: the formulas, one by one, and autograd."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.modules import Late, encoder_paths, make_batches, snapshot
from helpers.regulated import fit
from inforeg_lightning.core.window import PaperWindow

EPOCHS = 6
K = 0.02
SETTINGS = {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-3}


class Normed(Late):
    """Encoders with batch norm: another function in training than in evaluation."""

    def make_encoder(self, inputs: int, width: int) -> nn.Module:
        return nn.Sequential(
            nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, width)
        )


class Convolutional(Late):
    """Encoders with a convolution, batch norm and a linear layer: weights of 4, 2 and 1 dims."""

    def make_encoder(self, inputs: int, width: int) -> nn.Module:
        return nn.Sequential(
            nn.Unflatten(1, (1, 1, inputs)),
            nn.Conv2d(1, 3, (1, 2)),
            nn.BatchNorm2d(3),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(3 * (inputs - 1), width),
        )


NETS = pytest.mark.parametrize(("modalities", "kind"), [(2, Late), (3, Normed)])
"""What a reference test trains."""


def unimodal_logits(module: Late, features: dict[str, Tensor]) -> dict[str, Tensor]:
    """z_m W_mᵀ + c / M, column by column of the head."""
    logits, start = {}, 0
    for name, z in features.items():
        block = module.head.weight[:, start : start + z.shape[1]]
        logits[name] = z @ block.T + module.head.bias / len(features)
        start += z.shape[1]
    return logits


def true_probabilities(logits: dict[str, Tensor], label: Tensor) -> dict[str, Tensor]:
    """Sum over the batch of the probability of the true class, sample by sample."""
    return {
        name: sum(p[y] for p, y in zip(z.detach().softmax(1), label, strict=True))
        for name, z in logits.items()
    }


def encoder_parameters(module: Late, name: str) -> list[Tensor]:
    return [*getattr(module, f"{name}_encoder").parameters()]


def paper_window(traces: dict[str, list[float]]) -> dict[str, bool]:
    """Eq. 11, each modality on its own trace."""
    return {
        name: len(trace) >= 2 and (trace[-1] - trace[-2]) / trace[-1] > K
        for name, trace in traces.items()
    }


def plain_loop(
    module: Late,
    edit: Callable[..., None],
    window: Callable[[dict[str, list[float]]], dict[str, bool]] = paper_window,
    forward: Callable[..., Tensor] | None = None,
    optimizer: Callable[..., torch.optim.Optimizer] | None = None,
) -> dict[str, Any]:
    """Train; ``edit(step, features, label, is_open, optimizer)`` comes before each step.

    ``forward(step, features, is_open)`` makes the logits; by default the module's own head.
    """
    optimizer = module.configure_optimizers() if optimizer is None else optimizer(module)
    traces: dict[str, list[float]] = {name: [] for name in module.names}
    weights, windows, step = [], [], 0
    for _ in range(EPOCHS):
        is_open = window(traces)
        squares: dict[str, list[float]] = {name: [] for name in module.names}
        for batch in module.batches:
            features = module.features(batch)
            if forward is None:
                logits = module.head(torch.cat([*features.values()], 1))
            else:
                logits = forward(step, features, is_open)
            optimizer.zero_grad(set_to_none=False)
            F.cross_entropy(logits, batch["label"]).backward()
            for name in module.names:
                gradients = [p.grad for p in encoder_parameters(module, name)]
                squares[name].append(sum(float((g**2).sum()) for g in gradients))
            edit(step, features, batch["label"], is_open, optimizer)
            optimizer.step()
            step += 1
        for name in module.names:
            traces[name].append(sum(squares[name]) / len(squares[name]))
        weights.append(snapshot(module))
        windows.append(is_open)
    return {"weights": weights, "windows": windows, "traces": traces}


def train(callback: Any, modalities: int, kind: type[Late] = Late, **settings: Any) -> Late:
    """The same training through a Trainer."""
    return fit(make_plain(modalities, kind, **settings), callback, max_epochs=EPOCHS)["module"]


def make_plain(modalities: int, kind: type[Late] = Late, **settings: Any) -> Late:
    return kind(modalities, make_batches(modalities), **SETTINGS | settings)


def construct(method: type, modalities: int, **settings: Any) -> Any:
    settings = {"window": PaperWindow(K=K)} | settings
    return method(encoder_paths(modalities), head="head", **settings)


def assert_same_training(callback: Any, module: Late, plain: dict[str, Any]) -> None:
    """Every weight after every epoch, every decision and every trace."""
    assert len(module.epoch_weights) == EPOCHS
    for epoch, (mine, theirs) in enumerate(
        zip(module.epoch_weights, plain["weights"], strict=True)
    ):
        for name in theirs:
            torch.testing.assert_close(
                mine[name], theirs[name], rtol=0, atol=1e-10, msg=f"epoch {epoch}: {name}"
            )
    assert [entry["in_window"] for entry in callback.history] == plain["windows"]
    for name, trace in plain["traces"].items():
        found = [entry["trace"][name] for entry in callback.history]
        torch.testing.assert_close(torch.tensor(found), torch.tensor(trace), rtol=1e-9, atol=1e-12)
    decisions = [[w[name] for w in plain["windows"]] for name in plain["traces"]]
    assert any(True in d and False in d for d in decisions), "a window must open and close"
