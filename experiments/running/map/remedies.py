"""The remedies of the map, each by the library's own code, in a loop of a few lines."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

from inforeg_lightning import Regulator
from inforeg_lightning.engine.method import Method
from inforeg_lightning.methods import (
    DGL,
    MSLR,
    AutoBalance,
    InfoReg,
    Monitor,
    OfficialInfoReg,
    UnimodalLosses,
)
from running.truth.networks import BATCH, Network
from running.truth.worlds import Batch, World

JOINT, ENSEMBLE = "joint", "ensemble"
MODALITIES = ("a", "b")


@dataclass(frozen=True)
class Remedy:
    """A row of the map.

    Attributes:
        title: Its name for readers.
        make: The method; ``None`` for the ensemble, which needs none.
    """

    title: str
    make: Callable[[], Method] | None


REMEDIES: dict[str, Remedy] = {
    "inforeg": Remedy("InfoReg, the paper's window", InfoReg),
    "inforeg_official": Remedy("InfoReg, published code", OfficialInfoReg),
    "inforeg_adaptive": Remedy("InfoReg, adaptive window", lambda: InfoReg(window="adaptive")),
    "inforeg_always": Remedy("InfoReg throughout", lambda: InfoReg(window="always")),
    "leader_slower": Remedy(
        "Leader at a quarter of the learning rate", lambda: MSLR(rates=(0.25, 1.0))
    ),
    "unimodal_losses": Remedy(
        "Unimodal losses, own heads", lambda: UnimodalLosses(unimodal_heads="own")
    ),
    "unimodal_losses_shared": Remedy("Unimodal losses, shared head", UnimodalLosses),
    "dgl": Remedy("DGL", DGL),
    "auto_balance": Remedy("AutoBalance", AutoBalance),
    ENSEMBLE: Remedy("Ensemble of both alone", None),
}
"""With the defaults of each; ``a``, the modality that is learnt fast, is the gate of the published
code and the one that is slowed down, which is knowledge put in by hand."""


@dataclass(frozen=True)
class Trained:
    """What a run leaves.

    Attributes:
        log_probabilities: Of the test samples, ``(N, C)``.
        history: Of the method.
    """

    log_probabilities: Tensor
    history: list[dict[str, object]]

    def accuracy(self, label: Tensor) -> float:
        """On the test samples."""
        return float((self.log_probabilities.argmax(dim=1) == label).float().mean())


def sgd(parameters: Iterable[nn.Parameter], lr: float) -> Optimizer:
    """The optimizer of all worlds."""
    return torch.optim.SGD(parameters, lr=lr, momentum=0.9, weight_decay=1e-4)


def train(
    world: World,
    data: Mapping[str, Batch],
    seed: int,
    method: Method | None = None,
    kept: str | None = None,
    make_optimizer: Callable[[Iterable[nn.Parameter], float], Optimizer] = sgd,
    batch_size: int = BATCH,
) -> Trained:
    """Train the network of a world once.

    Args:
        world: Whose network, epochs and learning rate it has.
        data: ``"train"``, ``"validation"``, ``"test"`` -> samples.
        seed: Of initial weights and order of batches, which all methods share.
        method: What balances; ``None`` for none.
        kept: A modality that is trained alone.
        make_optimizer: From parameters and the world's learning rate to the optimizer.
        batch_size: Samples per step.
    """
    torch.manual_seed(seed)
    network = Network(world)
    optimizer = make_optimizer(network.parameters(), world.lr)
    order = torch.Generator().manual_seed(seed)
    regulator = None
    if method is not None:
        paths = {name: f"encoders.{name}" for name in world.sources}
        regulator = Regulator(network, optimizer, paths, method, head="head")
    for epoch in range(world.epochs):
        if regulator is not None:
            regulator.begin_epoch(epoch)
        for rows in torch.randperm(len(data["train"]["label"]), generator=order).split(batch_size):
            batch = {name: x[rows] for name, x in data["train"].items()}
            with regulator.batch(batch["label"]) if regulator else nullcontext():
                loss = F.cross_entropy(network(batch, kept), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if regulator is not None:
            _validate(regulator, network, data["validation"])
            regulator.end_epoch()
    if regulator is not None:
        regulator.close()
    with torch.no_grad():
        log_probabilities = network(data["test"], kept).log_softmax(dim=1)
    return Trained(log_probabilities, regulator.history if regulator else [])


def _validate(regulator: Regulator, network: Network, batch: Batch) -> None:
    """Show a method the validation samples, if it looks at them."""
    if regulator.method.needs_validation or isinstance(regulator.method, Monitor):
        with torch.no_grad(), regulator.validation(), regulator.batch(batch["label"]):
            network(batch)
