"""What a step and an epoch of the published algorithm compute, for its price only.

Written afresh from the table of what the published code does (two modalities, concatenation, a
linear head); the way it does it is kept where that is what costs: six backward passes, three of
them only for a log, Python loops over parameters and layers, reads of device values on the host,
and a copy of the whole model an epoch.
"""

import copy
from collections.abc import Mapping
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from measuring.interleave import Joint


class Published:
    """The algorithm's state over one epoch, and its step."""

    def __init__(self) -> None:
        self.anchor: Joint | None = None
        self.sums: list[dict[str, Tensor]] = []
        self.log: dict[str, float] = {}

    def begin_epoch(self, module: Joint) -> None:
        """Copy the model; a sum of squares for every layer, once for all and once by modality."""
        self.anchor = copy.deepcopy(module)
        layers = [(n, m) for n, m in module.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        self.sums = [{n: torch.zeros_like(m.weight) for n, m in layers} for _ in range(2)]

    def step(self, trainer: L.Trainer, module: Joint, batch: Mapping[str, Tensor]) -> None:
        """One whole training step: forward, backward passes, regulation, sums, optimiser."""
        if self.anchor is None:
            self.begin_epoch(module)
        optimizer = trainer.optimizers[0]
        label = batch["label"]
        optimizer.zero_grad()
        fused, unimodal = _forward(module, batch)
        losses = {"joint": F.cross_entropy(fused, label)}
        losses |= {m: F.cross_entropy(logits, label) for m, logits in unimodal.items()}

        for name, loss in losses.items():
            loss.backward(retain_graph=True)
            for modality in unimodal if name == "joint" else [name]:
                self._log_gradient(f"{name}/{modality}", module.encoders[modality])
            optimizer.zero_grad()
        for modality in reversed(unimodal):
            losses[modality].backward(retain_graph=True)
        losses["joint"].backward()

        self._regulate(module, _scores(unimodal, label))
        self._add_squares(module)
        self._log_norms(module)
        optimizer.step()
        self.log |= {name: loss.item() for name, loss in losses.items()}

    def megabytes(self) -> float:
        """Of what is kept for an epoch beyond the model: its copy, and the sums of squares."""
        assert self.anchor is not None
        tensors = [*self.anchor.state_dict().values(), *(t for s in self.sums for t in s.values())]
        return sum(t.numel() * t.element_size() for t in tensors) / 1e6

    def _log_gradient(self, name: str, encoder: nn.Module) -> None:
        gradients = [p.grad.clone() for p in encoder.parameters() if p.grad is not None]
        self.log[name] = torch.cat([g.flatten() for g in gradients]).mean().item()

    def _regulate(self, module: Joint, scores: Mapping[str, Tensor]) -> None:
        assert self.anchor is not None
        (first, a), (second, b) = scores.items()
        alpha: dict[str, Any] = {first: 0, second: 0}
        if a > b:  # the host waits for the device here
            alpha[first] = 0.95 * torch.exp(torch.tanh(a - b))
        elif b > a:
            alpha[second] = 0.1 * torch.exp(torch.tanh(b - a))
        with torch.no_grad():
            for p, p_anchor in zip(module.parameters(), self.anchor.parameters(), strict=True):
                for modality, encoder in module.encoders.items():
                    if any(p is q for q in encoder.parameters()):
                        p.grad += alpha[modality] * (p - p_anchor)

    def _add_squares(self, module: Joint) -> None:
        for sums in self.sums:
            for name, layer in module.named_modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    sums[name] += layer.weight.grad * layer.weight.grad

    def _log_norms(self, module: Joint) -> None:
        for name, p in module.named_parameters():
            if p.grad is not None and p.grad.dim() == 4:
                self.log[name] = torch.sum(p.grad**2).item()


def _forward(module: Joint, batch: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    features = {name: encoder(batch[name]) for name, encoder in module.encoders.items()}
    fused = module.head(torch.cat([*features.values()], dim=1))
    blocks = torch.split(module.head.weight, [z.shape[1] for z in features.values()], dim=1)
    share = module.head.bias / len(features)
    return fused, {
        m: torch.mm(z, block.T) + share
        for (m, z), block in zip(features.items(), blocks, strict=True)
    }


def _scores(unimodal: Mapping[str, Tensor], label: Tensor) -> dict[str, Tensor]:
    # A softmax of the whole batch for every sample, each read by an index that lives on the device.
    return {
        m: sum(
            (torch.softmax(logits, dim=1)[i][label[i]] for i in range(len(label))),
            start=torch.zeros(()),
        ).detach()
        for m, logits in unimodal.items()
    }
