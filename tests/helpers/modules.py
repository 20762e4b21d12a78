"""Small multimodal LightningModules that know nothing of the callback."""

from collections.abc import Iterable, Mapping
from types import MethodType

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inforeg_lightning.callbacks import MethodCallback

WIDTHS = {"audio": (6, 5), "video": (7, 4), "text": (3, 3)}
"""Modality -> (input width, feature width): all different, so that a mix-up cannot go unseen."""
CLASSES = 3


def names(modalities: int) -> list[str]:
    return list(WIDTHS)[:modalities]


def encoder_paths(modalities: int = 2) -> dict[str, str]:
    return {name: f"{name}_encoder" for name in names(modalities)}


def make_batches(modalities: int = 2, batches: int = 4, size: int = 8, seed: int = 0) -> list:
    """Batches whose label shows clearly in the first modality and faintly in the others."""
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(batches):
        label = torch.randint(CLASSES, (size,), generator=generator)
        batch = {"label": label}
        for rank, name in enumerate(names(modalities)):
            x = torch.randn(size, WIDTHS[name][0], generator=generator, dtype=torch.float64)
            x[:, :CLASSES] += 2.0 / (1 + 2 * rank) * F.one_hot(label, CLASSES)
            batch[name] = x
        made.append(batch)
    return made


class Late(L.LightningModule):
    """Encoders and a linear head over their concatenated features, in float64."""

    def __init__(
        self,
        modalities: int = 2,
        batches: list | None = None,
        lr: float = 0.1,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            for name in names(modalities):
                inputs, width = WIDTHS[name]
                setattr(self, f"{name}_encoder", self.make_encoder(inputs, width))
            self.head = self.make_head(sum(WIDTHS[n][1] for n in names(modalities)))
        self.double()
        self.names = names(modalities)
        self.batches = make_batches(modalities) if batches is None else batches
        self.sgd = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay}
        self.epoch_weights: list[dict[str, Tensor]] = []

    def make_encoder(self, inputs: int, width: int) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, 8), nn.Tanh(), nn.Linear(8, width))

    def make_head(self, width: int) -> nn.Module:
        return nn.Linear(width, CLASSES)

    def features(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {name: getattr(self, f"{name}_encoder")(batch[name]) for name in self.names}

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        return self.head(torch.cat(list(self.features(batch).values()), dim=1))

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        return F.cross_entropy(self(batch), batch["label"])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), **self.sgd)

    def train_dataloader(self) -> torch.utils.data.DataLoader:
        return torch.utils.data.DataLoader(self.batches, batch_size=None)

    def on_train_epoch_end(self) -> None:
        self.epoch_weights.append(snapshot(self))


def give_validation(module: Late, callbacks: Iterable[L.Callback]) -> None:
    """Let a module validate on its first batch if a callback cannot do without."""
    if any(
        isinstance(callback, MethodCallback) and callback.method.needs_validation
        for callback in callbacks
    ):

        def validation_step(self: Late, batch: Mapping[str, Tensor], batch_idx: int) -> None:
            self(batch)

        # Of the instance, which a copy of it takes over as its own.
        module.validation_step = MethodType(validation_step, module)  # type: ignore[method-assign]
        batches = module.batches[:1]
        # Else a loader's iterator draws a seed from torch's generator.
        own = torch.Generator()
        module.val_dataloader = lambda: torch.utils.data.DataLoader(
            batches, batch_size=None, generator=own
        )


def snapshot(module: nn.Module) -> dict[str, Tensor]:
    """The weights of a module, without the unimodal heads that a callback lends it."""
    return {
        name: p.detach().clone()
        for name, p in module.named_parameters()
        if not name.startswith("unimodal_heads")
    }


def heads_of(callback: MethodCallback) -> dict[str, Tensor]:
    """The weights of the unimodal heads that a callback has lent its module."""
    return {
        f"{modality}.{name}": p.detach().clone()
        for modality, head in callback.unimodal_heads.items()
        for name, p in head.named_parameters()
    }


def assert_same_weights(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    """Equal to the bit."""
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name
