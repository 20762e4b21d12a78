"""Late fusion: one encoder per modality, and a head that fuses their features."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import lightning.pytorch as L
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchmetrics.classification import MulticlassAccuracy, MulticlassF1Score

from inforeg_lightning.core.scores import linear_unimodal_logits

_STAGES = ("train", "val", "test")


class LateFusionClassifier(L.LightningModule):
    """Classify from the features of one encoder per modality (the paper's network).

    The loss is the cross-entropy of the fused logits. ``unimodal_losses=True`` adds one
    cross-entropy per modality on its unimodal logits: with the regulation, that is the paper's
    InfoReg* (Table 3), without it "joint*". The two are never mixed. Unimodal logits are
    ``z_m W_mᵀ + c / M`` for the linear head over concatenated features, and what the head returns
    with the features of all other modalities at zero for any other (section 4.5). With a single
    encoder it is the unimodal baseline.

    A batch is a mapping: each modality's name to its input, and ``"label"`` to class indices,
    int64 of shape ``(B,)``. Keys beyond these are ignored.

    Logged once an epoch, for each stage of ``train``, ``val``, ``test``: ``<stage>/loss``,
    ``<stage>/accuracy`` of the fused prediction and, with two or more encoders,
    ``<stage>/accuracy_<modality>`` of the unimodal logits. Accuracies are fractions.
    ``macro_f1=True`` adds ``<stage>/macro_f1`` of the fused prediction: the mean over classes, so
    that a rare class counts as much as a frequent one.

    Args:
        encoders: Modality -> module from its input to features ``(B, D_m)``, with the attribute
            ``out_features = D_m``. Features are concatenated in this order.
        num_classes: Number of classes, at least 2.
        unimodal_losses: Add the unimodal cross-entropies to the loss.
        lr: Learning rate. The defaults of this and what follows are the published code's.
        momentum: Momentum of SGD; AdamW has its own.
        weight_decay: Weight decay.
        step_size: Epochs between two decays of the learning rate.
        gamma: Factor of each decay.
        warmup_epochs: Epochs ``W`` of linear warm-up before the full rate: epoch ``t < W`` has
            ``(t + 1) / (W + 1)`` of it. 0: none.
        fusion: Makes the head, ``(widths, num_classes) -> module`` from a list of features to
            logits; see :mod:`~inforeg_lightning.models.fusion`. ``None``: a linear layer over the
            concatenated features.
        optimizer: ``"sgd"``, or ``"adamw"`` with torch's other defaults, as transformers want it.
        macro_f1: Log the macro F1 too.

    Raises:
        ValueError: ``encoders`` is empty, an encoder has no ``out_features``, a modality is called
            ``"label"`` or has a dot in its name, ``num_classes`` is less than 2, or ``optimizer``
            is neither.
    """

    def __init__(
        self,
        encoders: Mapping[str, nn.Module],
        num_classes: int,
        unimodal_losses: bool = False,
        lr: float = 0.002,
        momentum: float = 0.9,
        weight_decay: float = 1e-4,
        step_size: int = 30,
        gamma: float = 0.1,
        warmup_epochs: int = 0,
        fusion: Callable[[Sequence[int], int], nn.Module] | None = None,
        optimizer: str = "sgd",
        macro_f1: bool = False,
    ) -> None:
        super().__init__()
        _check(encoders, num_classes)
        if optimizer not in ("sgd", "adamw"):
            raise ValueError(f"optimizer must be 'sgd' or 'adamw', got {optimizer!r}")
        # Modules belong in the checkpoint's weights, not in its hyperparameters.
        self.save_hyperparameters(ignore=["encoders", "fusion"])
        self.modalities = tuple(encoders)
        self.unimodal_losses = unimodal_losses
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.step_size, self.gamma, self.warmup_epochs = step_size, gamma, warmup_epochs
        self.optimizer = optimizer

        self.encoders = nn.ModuleDict({name: encoders[name] for name in encoders})
        widths = [int(getattr(encoders[name], "out_features")) for name in encoders]  # noqa: B009
        self._concatenates = fusion is None
        if fusion is None:
            self.head: nn.Module = nn.Linear(sum(widths), num_classes)
            nn.init.xavier_uniform_(self.head.weight)
            nn.init.zeros_(self.head.bias)
        else:
            self.head = fusion(widths, num_classes)
        # validate_args costs a host read a batch; the labels are checked by the loss anyway.
        self.accuracies = nn.ModuleDict(
            {
                _metric_key(stage, of): MulticlassAccuracy(
                    num_classes, average="micro", validate_args=False
                )
                for stage in _STAGES
                for of in ("", *self._unimodal)
            }
        )
        self.macro_f1 = nn.ModuleDict(
            {
                _metric_key(stage, "macro_f1"): MulticlassF1Score(num_classes, validate_args=False)
                for stage in (_STAGES if macro_f1 else ())
            }
        )

    @property
    def _unimodal(self) -> tuple[str, ...]:
        # With one encoder its logits are the fused logits: the same number twice says nothing.
        return self.modalities if len(self.modalities) > 1 else ()

    def features(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Encode each modality: modality -> ``(B, D_m)``, in the order of ``encoders``."""
        return {name: encoder(batch[name]) for name, encoder in self.encoders.items()}

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Fused logits, ``(B, num_classes)``, of a batch; its ``"label"`` is not needed."""
        return self.fuse(self.features(batch))

    def fuse(self, features: Mapping[str, Tensor]) -> Tensor:
        """Fused logits, ``(B, num_classes)``, of what :meth:`features` returns."""
        parts = [*features.values()]
        logits: Tensor = self.head(torch.cat(parts, dim=1) if self._concatenates else parts)
        return logits

    def unimodal(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Modality -> its unimodal logits, ``(B, num_classes)``; see the class."""
        if isinstance(self.head, nn.Linear):
            return linear_unimodal_logits(self.head.weight, self.head.bias, features)
        zeros = {name: torch.zeros_like(z) for name, z in features.items()}
        return {name: self.fuse({**zeros, name: z}) for name, z in features.items()}

    def training_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> Tensor:
        """Loss of one batch, a scalar; logs ``train/...``."""
        return self._step("train", batch)

    def validation_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Log ``val/...``."""
        self._step("val", batch)

    def test_step(self, batch: Mapping[str, Tensor], batch_idx: int) -> None:
        """Log ``test/...``."""
        self._step("test", batch)

    def _step(self, stage: str, batch: Mapping[str, Tensor]) -> Tensor:
        features, label = self.features(batch), batch["label"]
        fused = self.fuse(features)
        loss = F.cross_entropy(fused, label)
        predictions = {"": fused}
        if self._unimodal:
            with torch.set_grad_enabled(self.unimodal_losses and torch.is_grad_enabled()):
                unimodal = self.unimodal(features)
            predictions |= unimodal
            self._take_unimodal(stage, unimodal, label)
            if self.unimodal_losses:
                loss = loss + sum(F.cross_entropy(logits, label) for logits in unimodal.values())
        self._log_step(stage, loss, predictions, label)
        return loss

    def _take_unimodal(self, stage: str, logits: Mapping[str, Tensor], label: Tensor) -> None:
        """Do something with the unimodal logits of a batch; here nothing."""

    def _log_step(
        self, stage: str, loss: Tensor, predictions: Mapping[str, Tensor], label: Tensor
    ) -> None:
        once_an_epoch: dict[str, Any] = {
            "on_step": False,
            "on_epoch": True,
            "batch_size": label.shape[0],
        }
        self.log(f"{stage}/loss", loss, sync_dist=True, **once_an_epoch)
        for of, logits in predictions.items():
            metric = cast(MulticlassAccuracy, self.accuracies[_metric_key(stage, of)])
            metric.update(logits.detach(), label)
            name = f"{stage}/accuracy_{of}" if of else f"{stage}/accuracy"
            self.log(name, metric, **once_an_epoch)
        if self.macro_f1:
            f1 = cast(MulticlassF1Score, self.macro_f1[_metric_key(stage, "macro_f1")])
            f1.update(predictions[""].detach(), label)
            self.log(f"{stage}/macro_f1", f1, **once_an_epoch)

    def configure_optimizers(self) -> Any:
        """The optimiser, and a rate that steps down (after the warm-up, if there is one)."""
        settings: dict[str, Any] = {"lr": self.lr, "weight_decay": self.weight_decay}
        optimizer: torch.optim.Optimizer
        if self.optimizer == "adamw":
            optimizer = torch.optim.AdamW(self.parameters(), **settings)
        else:
            optimizer = torch.optim.SGD(self.parameters(), momentum=self.momentum, **settings)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self._rate_factor)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _rate_factor(self, epoch: int) -> float:
        warmup = min(1.0, (epoch + 1) / (self.warmup_epochs + 1))
        return float(warmup * self.gamma ** (epoch // self.step_size))


def _metric_key(stage: str, of: str) -> str:
    # A bare stage or modality could collide with an attribute of nn.Module, as "train" does.
    return f"{stage}_accuracy_{of}"


def _check(encoders: Mapping[str, nn.Module], num_classes: int) -> None:
    if not encoders:
        raise ValueError("encoders is empty; give at least one modality, as {'audio': module}")
    if num_classes < 2:
        raise ValueError(f"num_classes must be at least 2, got {num_classes}")
    for name in encoders:
        if name == "label" or "." in name:
            raise ValueError(
                f"encoders has a modality called {name!r}; 'label' is the target's key and dots "
                "separate attribute paths, so choose another name"
            )
        if not isinstance(getattr(encoders[name], "out_features", None), int):
            raise ValueError(
                f"encoders[{name!r}] is a {type(encoders[name]).__name__} without an integer "
                "attribute out_features; set it to the width of the encoder's output"
            )
