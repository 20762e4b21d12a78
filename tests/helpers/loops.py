"""The same training in every loop that the Regulator or a callback runs in."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader

from helpers.modules import CLASSES, WIDTHS, make_batches, names, snapshot
from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback, Regulator, report_unimodal
from inforeg_lightning.callbacks import MethodCallback, OGMCallback
from inforeg_lightning.methods import OGM, InfoReg, Method, OfficialInfoReg, UnimodalLosses


class Net(nn.Module):
    """Encoders and a head in float64; ``forward`` as that of a model of transformers."""

    def __init__(self, modalities: int = 2, linear: bool = True, reports: bool = False) -> None:
        super().__init__()
        self.names = names(modalities)
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for name in self.names:
                inputs, width = WIDTHS[name]
                encoder = nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, width))
                setattr(self, f"{name}_encoder", encoder)
            width = sum(WIDTHS[name][1] for name in self.names)
            perceptron = nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, CLASSES))
            self.head = nn.Linear(width, CLASSES) if linear else perceptron
        self.double()
        self.reports_for: list[nn.Module] = [self] if reports else []  # no child of its own

    def forward(
        self,
        audio: Tensor,
        video: Tensor,
        text: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        inputs = {"audio": audio, "video": video, "text": text}
        features = {name: getattr(self, f"{name}_encoder")(inputs[name]) for name in self.names}
        logits = self.head(torch.cat(list(features.values()), dim=1))
        assert labels is not None
        for module in self.reports_for:
            alone = {name: z[:, :CLASSES] for name, z in features.items()}
            report_unimodal(module, alone, labels)
        return {"loss": F.cross_entropy(logits, labels), "logits": logits}


def make_method(name: str) -> Method:
    return {
        "paper": lambda: InfoReg(beta=0.7, K=0.02),
        "always": lambda: InfoReg(beta=0.7, window="always"),
        "official": OfficialInfoReg,
        "own heads": lambda: UnimodalLosses(unimodal_heads="own"),
        "ogm": lambda: OGM(alpha=0.4),
    }[name]()


@dataclass(frozen=True)
class SetUp:
    method: str = "always"
    modalities: int = 2
    linear: bool = True
    reports: bool = False
    accumulate: int = 1
    clip: float = 0.0
    period: int | str = "epoch"
    epochs: int = 5
    momentum: float = 0.9

    def net(self) -> Net:
        return Net(self.modalities, self.linear, self.reports)

    @property
    def head(self) -> str | None:
        return None if self.reports else "head"

    def paths(self, prefix: str = "") -> dict[str, str]:
        return {name: f"{prefix}{name}_encoder" for name in names(self.modalities)}

    def batches(self) -> list[dict[str, Tensor]]:
        made = make_batches(self.modalities, batches=6)
        return [{"labels": batch.pop("label"), **batch} for batch in made]

    def sgd(self, net: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD(net.parameters(), 0.1, self.momentum, weight_decay=1e-3)

    def regulator(self, net: nn.Module, optimizer: Any, **settings: Any) -> Regulator:
        return Regulator(
            net,
            optimizer,
            self.paths(),
            settings.pop("method", None) or make_method(self.method),
            self.head,
            **{"period": self.period, "target": "labels"} | settings,
        )


@dataclass
class Trained:
    weights: list[dict[str, Tensor]]
    history: list[dict[str, Any]]


def bare(set_up: SetUp) -> Trained:
    net = set_up.net()
    optimizer = set_up.sgd(net)
    regulator = set_up.regulator(net, optimizer)
    weights = []
    for epoch in range(set_up.epochs):
        regulator.begin_epoch(epoch)
        for index, batch in enumerate(set_up.batches(), start=1):
            with regulator.batch(batch):
                loss = net(**batch)["loss"]
            (loss / set_up.accumulate).backward()
            if index % set_up.accumulate == 0:
                if set_up.clip:
                    nn.utils.clip_grad_norm_(net.parameters(), set_up.clip)
                optimizer.step()
                optimizer.zero_grad()
        regulator.end_epoch()
        weights.append(snapshot(net))
    regulator.close()
    return Trained(weights, regulator.history)


def fabric(set_up: SetUp) -> Trained:
    from lightning.fabric import Fabric

    fabric = Fabric(accelerator="cpu", devices=1)
    net, optimizer = fabric.setup(inner := set_up.net(), set_up.sgd(inner))
    regulator = set_up.regulator(net, optimizer)
    weights = []
    for epoch in range(set_up.epochs):
        regulator.begin_epoch(epoch)
        for index, batch in enumerate(set_up.batches(), start=1):
            with regulator.batch(batch):
                loss = net(**batch)["loss"]
            fabric.backward(loss / set_up.accumulate)
            if index % set_up.accumulate == 0:
                if set_up.clip:
                    fabric.clip_gradients(net, optimizer, max_norm=set_up.clip)
                optimizer.step()
                optimizer.zero_grad()
        regulator.end_epoch()
        weights.append(snapshot(inner))
    return Trained(weights, regulator.history)


def accelerate(set_up: SetUp) -> Trained:
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, gradient_accumulation_steps=set_up.accumulate)
    net, optimizer = accelerator.prepare(inner := set_up.net(), set_up.sgd(inner))
    regulator = set_up.regulator(net, optimizer)
    weights = []
    for epoch in range(set_up.epochs):
        regulator.begin_epoch(epoch)
        for batch in set_up.batches():
            with accelerator.accumulate(net):
                with regulator.batch(batch):
                    loss = net(**batch)["loss"]
                accelerator.backward(loss)
                if set_up.clip and accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(net.parameters(), set_up.clip)
                optimizer.step()
                optimizer.zero_grad()
        regulator.end_epoch()
        weights.append(snapshot(inner))
    return Trained(weights, regulator.history)


def hugging_face(set_up: SetUp, folder: str = "unused", **settings: Any) -> Trained:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    from inforeg_lightning.integrations.hugging_face import RegulatorCallback

    net = set_up.net()
    weights = []

    class Watch(TrainerCallback):
        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            weights.append(snapshot(net))

    class OnBatches(Trainer):
        def get_train_dataloader(self, *_: Any) -> DataLoader:
            return DataLoader(set_up.batches(), collate_fn=lambda batches: batches[0])

        get_eval_dataloader = get_train_dataloader

    resume = settings.pop("resume", None)
    callback = RegulatorCallback(
        set_up.paths(), make_method(set_up.method), set_up.head, period=set_up.period
    )
    optimizer = set_up.sgd(net)
    defaults = {"save_strategy": "no", "max_grad_norm": set_up.clip}
    trainer = OnBatches(
        net,
        TrainingArguments(
            folder,
            num_train_epochs=set_up.epochs,
            gradient_accumulation_steps=set_up.accumulate,
            report_to=[],
            disable_tqdm=True,
            use_cpu=True,
            logging_strategy="no",
            **defaults | settings,
        ),
        train_dataset=set_up.batches(),
        eval_dataset=set_up.batches(),
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)),
        callbacks=[callback, Watch()],
    )
    trainer.train(resume_from_checkpoint=resume)
    return Trained(weights, callback.regulator.history)


class InLightning(L.LightningModule):
    def __init__(self, set_up: SetUp) -> None:
        super().__init__()
        self.set_up = set_up
        self.net = set_up.net()
        if set_up.reports:
            self.net.reports_for = [self]
        self.epoch_weights: list[dict[str, Tensor]] = []

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        return self.net(**batch)["loss"]

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return self.set_up.sgd(self.net)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.set_up.batches(), batch_size=None)

    def on_train_epoch_end(self) -> None:
        self.epoch_weights.append(snapshot(self.net))


def make_callback(set_up: SetUp) -> MethodCallback:
    settings = {"target": "labels", "head": set_up.head and f"net.{set_up.head}"}
    paths = set_up.paths("net.")
    if set_up.method == "official":
        return InfoRegCallback.official(paths, **settings)
    settings["period"] = set_up.period
    return {
        "paper": lambda: InfoRegCallback(paths, beta=0.7, K=0.02, **settings),
        "always": lambda: InfoRegCallback(paths, beta=0.7, window="always", **settings),
        "ogm": lambda: OGMCallback(paths, alpha=0.4, **settings),
    }[set_up.method]()


def lightning(set_up: SetUp) -> Trained:
    module = InLightning(set_up)
    callback = make_callback(set_up)
    trainer = quiet_trainer(
        callbacks=[callback],
        max_epochs=set_up.epochs,
        accumulate_grad_batches=set_up.accumulate,
        gradient_clip_val=set_up.clip or None,
    )
    trainer.fit(module)
    return Trained(module.epoch_weights, callback.history)


LOOPS: dict[str, Callable[[SetUp], Trained]] = {
    "bare": bare,
    "fabric": fabric,
    "accelerate": accelerate,
    "hugging_face": hugging_face,
    "lightning": lightning,
}


class Loop:
    """A bare loop, step by step."""

    def __init__(
        self, set_up: SetUp | None = None, method: Method | None = None, **settings: Any
    ) -> None:
        set_up = set_up or SetUp("always")
        self.net = set_up.net()
        self.optimizer = set_up.sgd(self.net)
        settings["method"] = method or make_method(set_up.method)
        self.regulator = set_up.regulator(self.net, self.optimizer, **settings)
        self.batches = set_up.batches()

    def loss(self, index: int) -> torch.Tensor:
        return self.net(**self.batches[index])["loss"]

    def step(self, *indices: int) -> None:
        for index in indices:
            with self.regulator.batch(self.batches[index]):
                loss = self.loss(index)
            loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()

    def epoch(self, number: int, batches: range = range(6)) -> None:
        self.regulator.begin_epoch(number)
        for index in batches:
            self.step(index)
        self.regulator.end_epoch()

    def checkpoint(self) -> dict:
        return copy.deepcopy(
            {
                "net": self.net.state_dict(),
                "optimizer": self.optimizer.state_dict(),
            }
        ) | {"regulator": self.regulator.state_dict()}

    def load(self, saved: dict) -> None:
        self.net.load_state_dict(saved["net"])
        self.optimizer.load_state_dict(copy.deepcopy(saved["optimizer"]))
        self.regulator.load_state_dict(saved["regulator"])


def without_displacement(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For runs that cannot measure it: of an optimizer of the user's own, or resumed too late."""
    return [{key: of for key, of in entry.items() if key != "displacement"} for entry in history]
