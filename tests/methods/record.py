"""Record what every method does to a short training, for ``test_recorded.py`` to hold it against.

``recorded.json`` was written before the callbacks were rebuilt, and is written again only when a
number is *meant* to change::

    PYTHONPATH=src:tests python tests/methods/record.py

Every case trains a small module in float64 through a real Trainer. Constructors, ``history`` and
the Trainer are all it uses, so that it says the same of any inside.
"""

import functools
import json
import logging
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from helpers.manual import OneForEach
from helpers.methods import mean_direction
from helpers.modules import CLASSES, Late, encoder_paths, give_validation, make_batches, names
from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback, report_unimodal
from inforeg_lightning.callbacks import (
    AGMCallback,
    AlternatingGreedyCallback,
    AutoBalanceCallback,
    DGLCallback,
    GBlendingCallback,
    MLBCallback,
    MMParetoCallback,
    ModalityDropoutCallback,
    MSLRCallback,
    OGMCallback,
    OGMGECallback,
    OPMCallback,
    PDMPCallback,
    PMRCallback,
    RedRegCallback,
    ReLearningCallback,
    TorchJDCallback,
    UnimodalLossesCallback,
)
from inforeg_lightning.core.window import AdaptiveWindow, OutsideWindow, PaperWindow

RECORD = Path(__file__).with_name("recorded.json")
K = 0.02
FACTORS = {"audio": 0.5, "video": 1.5, "text": 0.8}
"""One number for each modality, for the arguments that map modalities to numbers."""


class Perceptron(Late):
    """A head that cannot be split, and is run with the other modalities' features at zero."""

    def make_head(self, width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(width, 6), nn.Tanh(), nn.Linear(6, CLASSES))


class Reported(Late):
    """Logits of its own for each modality, which no head of the module gives."""

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        logits = {name: z[:, :CLASSES] for name, z in self.features(batch).items()}
        report_unimodal(self, logits, batch["label"])
        return super().training_step(batch, batch_idx)


class Adam(Late):
    """An optimiser whose step is no multiple of the gradient."""

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=0.02, weight_decay=0.01)


class Ignoring(Late):
    """Some samples have no class."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        for batch in self.batches:
            batch["label"][::3] = -100


class Starred(Late):
    """Its own loss has the unimodal losses, each with weight 1."""

    unimodal_losses = True

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        features, start, losses = self.features(batch), 0, []
        for z in features.values():
            block = self.head.weight[:, start : start + z.shape[1]]
            logits = F.linear(z, block, self.head.bias / len(features))
            losses.append(F.cross_entropy(logits, batch["label"]))
            start += z.shape[1]
        return super().training_step(batch, batch_idx) + sum(losses)


@dataclass(frozen=True)
class SetUp:
    """A module and a Trainer, and how the callback is asked for.

    Attributes:
        module: Makes the module.
        modalities: How many it has.
        trainer: Arguments of the Trainer.
        callback: Arguments of the callback.
        beside: Makes the callbacks that come after it in the Trainer's list.
    """

    module: Callable[..., Late] = Late
    modalities: int = 2
    trainer: Mapping[str, Any] = field(default_factory=dict)
    callback: Mapping[str, Any] = field(default_factory=dict)
    beside: Callable[[], list[L.Callback]] = list


def another() -> list[L.Callback]:
    """A second method, which edits what the first one left."""
    return [OGMCallback(encoder_paths(), head="head", window="always", alpha=0.5, combine=True)]


SET_UPS = {
    "sgd": SetUp(functools.partial(Late, momentum=0.0)),
    "momentum": SetUp(),
    "adamw": SetUp(Adam),
    "three modalities": SetUp(modalities=3),
    "perceptron head": SetUp(Perceptron),
    "reported": SetUp(Reported, callback={"head": None}),
    "ignored targets": SetUp(Ignoring),
    "unimodal losses included": SetUp(Starred),
    "accumulation": SetUp(trainer={"accumulate_grad_batches": 2}),
    "clipping": SetUp(trainer={"gradient_clip_val": 0.3}),
    "by hand": SetUp(OneForEach),
    "period of steps": SetUp(callback={"period": 3}),
    "paper window": SetUp(callback={"window": PaperWindow(K=K)}),
    "paper window of steps": SetUp(callback={"period": 3, "window": PaperWindow(K=K)}),
    # Of few steps, as within epochs only the weaker modality would be outside.
    "outside window": SetUp(callback={"period": 2, "window": OutsideWindow(K=K)}),
    "adaptive window": SetUp(callback={"period": 2, "window": AdaptiveWindow(0.8, 0.7)}),
    "range window": SetUp(callback={"window": (0, 2)}),
    "beside another": SetUp(callback={"combine": True}, beside=another),
}
FOR_ARGUMENTS = {
    name for name, set_up in SET_UPS.items() if {*set_up.callback} & {"window", "period", "combine"}
}
"""Set-ups that are an argument of the callback."""
NO_HEAD = {"reported"}


@dataclass(frozen=True)
class Method:
    """How a method is constructed, and what cannot be asked of it.

    Attributes:
        construct: Takes encoders, head and keyword arguments.
        settings: Under which it shows after a few steps.
        refuses: Set-ups that it turns away.
        alone: The set-ups it is trained in, if not all others.
    """

    construct: Callable[..., L.Callback]
    settings: Mapping[str, Any] = field(default_factory=dict)
    refuses: frozenset[str] = frozenset()
    alone: frozenset[str] = frozenset(SET_UPS)


def official(encoders: Mapping[str, str], head: str | None, **settings: Any) -> L.Callback:
    """The published code's variant."""
    return InfoRegCallback.official(encoders, head=head, **settings)


def included(of: Callable[..., L.Callback]) -> Callable[..., L.Callback]:
    return functools.partial(of, unimodal_losses_included=True)


def mslr(encoders: Mapping[str, str], head: str | None, **settings: Any) -> L.Callback:
    rates = {name: FACTORS[name] for name in encoders}
    return MSLRCallback(encoders, head=head, rates=rates, **settings)


ALWAYS = {"window": "always"}
RUNNING = ALWAYS | {"measure": "running", "floor": 0.0, "unimodal_heads": "shared"}
_two_losses = frozenset(NO_HEAD | {"unimodal losses included"})
_starred = frozenset({"unimodal losses included"})
METHODS = {
    "joint": Method(InfoRegCallback, {"window": "never"}, frozenset(FOR_ARGUMENTS)),
    "inforeg": Method(InfoRegCallback, ALWAYS | {"beta": 0.7, "K": K}),
    "inforeg by name": Method(
        InfoRegCallback, {"K": K, "window": "paper"}, alone=frozenset({"momentum"})
    ),
    "inforeg by probability": Method(
        InfoRegCallback, ALWAYS | {"score": "prob"}, alone=frozenset({"momentum"})
    ),
    "official": Method(official, {}, frozenset(FOR_ARGUMENTS | {"three modalities"})),
    "official by modality": Method(
        official, {"strength": FACTORS}, alone=frozenset({"three modalities"})
    ),
    "official, gate": Method(
        official,
        {"strength": {"audio": 0.1, "video": 0.95}, "gate": "video", "K": 0.3},
        alone=frozenset({"momentum"}),
    ),
    "ogm": Method(
        # The Trainer saves no two callbacks of one class.
        OGMCallback,
        ALWAYS | {"alpha": 0.5},
        frozenset({"beside another"}),
    ),
    "ogm_ge": Method(OGMGECallback, ALWAYS | {"alpha": 0.5}),
    "alternating_greedy": Method(
        AlternatingGreedyCallback,
        ALWAYS | {"tolerance": 0.0, "steps": 1},
        frozenset(NO_HEAD | {"by hand"}),
    ),
    "mslr": Method(mslr, ALWAYS),
    "agm": Method(AGMCallback, ALWAYS, frozenset(NO_HEAD)),
    "pmr": Method(PMRCallback, ALWAYS | {"mu": 0.5, "entropy_periods": 4}, frozenset(NO_HEAD)),
    "auto_balance": Method(AutoBalanceCallback, ALWAYS, alone=frozenset({"momentum"})),
    "dgl": Method(DGLCallback, ALWAYS, alone=frozenset({"momentum"})),
    "gblending": Method(GBlendingCallback, RUNNING | {"super_epoch": 1}, _two_losses),
    "gblending, super-epochs": Method(
        GBlendingCallback, RUNNING | {"super_epoch": 2}, alone=frozenset({"momentum"})
    ),
    "gblending, included": Method(
        included(GBlendingCallback), RUNNING | {"super_epoch": 1}, alone=_starred
    ),
    "modality dropout": Method(ModalityDropoutCallback, ALWAYS, alone=frozenset({"momentum"})),
    "opm": Method(OPMCallback, ALWAYS, alone=frozenset({"momentum"})),
    "torchjd": Method(
        TorchJDCallback,
        ALWAYS | {"aggregator": mean_direction, "unimodal_heads": "shared"},
        alone=frozenset({"momentum"}),
    ),
    "mmpareto": Method(MMParetoCallback, ALWAYS | {"unimodal_heads": "shared"}, _two_losses),
    "mmpareto, included": Method(
        included(MMParetoCallback), ALWAYS | {"unimodal_heads": "shared"}, alone=_starred
    ),
    "mlb": Method(
        MLBCallback, ALWAYS | {"unimodal_heads": "shared"}, alone=frozenset({"momentum"})
    ),
    "pdmp": Method(
        PDMPCallback,
        ALWAYS | {"performance": [0, 1], "gamma_p": 1.5, "gamma_r": 0.5},
        alone=frozenset({"momentum"}),
    ),
    "redreg": Method(
        RedRegCallback,
        ALWAYS | {"agreement": None, "noise": 0, "unimodal_heads": "shared"},
        alone=frozenset({"momentum", "three modalities"}),
    ),
    "relearning": Method(ReLearningCallback, ALWAYS | {"every": 1}, alone=frozenset({"momentum"})),
    "unimodal_losses": Method(UnimodalLossesCallback, ALWAYS, alone=frozenset({"momentum"})),
}


def cases() -> list[tuple[str, str]]:
    """Every method with every set-up it allows."""
    return [
        (method, set_up)
        for method, of in METHODS.items()
        for set_up in SET_UPS
        if set_up in of.alone and set_up not in of.refuses
    ]


def key(method: str, set_up: str) -> str:
    """The name of a case in the record."""
    return f"{method}: {set_up}"


def train(method: str, set_up: str) -> dict[str, Any]:
    """Train one case.

    Returns:
        ``history`` of the callback, and ``weights``: of each parameter after the last step its
        sum, norm, first and last number.
    """
    of, how = METHODS[method], SET_UPS[set_up]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        batches = make_batches(how.modalities)
        module = how.module(modalities=how.modalities, batches=batches, weight_decay=1e-3)
        draw_weights(module)
        settings = {"head": "head"} | dict(of.settings) | dict(how.callback)
        encoders = encoder_paths(how.modalities)
        assert [*encoders] == names(how.modalities)
        callback = of.construct(encoders, settings.pop("head"), **settings)
        callbacks = [callback, *how.beside()]
        trainer = quiet_trainer(callbacks=callbacks, max_epochs=5, **how.trainer)
        give_validation(module, trainer.callbacks)
        trainer.fit(module)
    return {"history": callback.history, "weights": digest(module)}


@torch.no_grad()
def draw_weights(module: nn.Module) -> None:
    """Draw in float64, as torch's own float32 draws differ between processors in the last bit."""
    for parameter in module.parameters():
        bound = parameter.shape[-1] ** -0.5
        parameter.copy_(bound * (2 * torch.rand(parameter.shape, dtype=torch.float64) - 1))


def digest(module: nn.Module) -> dict[str, dict[str, float]]:
    """Four numbers for each parameter, summed without rounding between."""
    found = {}
    for name, parameter in module.named_parameters():
        numbers = parameter.detach().double().flatten().tolist()
        found[name] = {
            "sum": math.fsum(numbers),
            "norm": math.sqrt(math.fsum(x * x for x in numbers)),
            "first": numbers[0],
            "last": numbers[-1],
        }
    return found


def write(record: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """One period a line, so that a change of the record can be read; floats to the bit."""
    parts = []
    for case, of in record.items():
        history = ",\n".join(f"  {json.dumps(entry, allow_nan=False)}" for entry in of["history"])
        others = {key: value for key, value in of.items() if key != "history"}
        tail = json.dumps(others, allow_nan=False)[1:]
        parts.append(f'{json.dumps(case)}: {{"history": [\n{history}\n ],\n {tail}')
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def main() -> None:
    """Write the record to the path given, or over the one that is committed."""
    torch.set_num_threads(1)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    record = {key(*case): train(*case) for case in cases()}
    write(record, Path(sys.argv[1]) if len(sys.argv) > 1 else RECORD)


if __name__ == "__main__":
    main()
