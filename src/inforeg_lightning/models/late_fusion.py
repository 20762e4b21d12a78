"""Late fusion: one encoder per modality, and a head that fuses their features."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torchmetrics import Metric
from torchmetrics.classification import MulticlassF1Score

from inforeg_lightning.core.scores import linear_unimodal_logits
from inforeg_lightning.models.tasks import TASKS, find_task

_STAGES = ("train", "val", "test")


class LateFusionClassifier(L.LightningModule):
    """Classify, or solve another task, from the features of one encoder per modality.

    It is the paper's network, whose loss is the cross-entropy of the fused logits; ``task`` has
    others. ``unimodal_losses=True`` adds one such loss per modality on its unimodal logits: with
    the regulation, that is the paper's InfoReg* (Table 3), without it "joint*". The two are never
    mixed. Unimodal logits are ``z_m W_mᵀ + c / M`` for the linear head over concatenated features,
    and what the head returns with the features of all other modalities at zero for any other
    (section 4.5). With a single encoder it is the unimodal baseline.

    A batch is a mapping: each modality's name to its input, and ``"label"`` to the target, of
    ``"classes"`` their indices, int64 of shape ``(B,)``. Where samples lack a modality, the batch
    has a mapping ``"present"`` from each modality to which samples have it, shape ``(B,)``, bool:
    the features of the others are zero before the head, and unimodal losses and metrics are over
    those that have it. Keys beyond these are ignored.

    Logged once an epoch, for each stage of ``train``, ``val``, ``test``: ``<stage>/loss``, the
    metrics of the task, of ``"classes"`` ``<stage>/accuracy``, and with two or more encoders its
    first metric of the unimodal logits, ``<stage>/accuracy_<modality>``. Accuracies are fractions.
    ``macro_f1=True`` adds ``<stage>/macro_f1`` of the fused prediction: the mean over classes, so
    that a rare class counts as much as a frequent one.

    Args:
        encoders: Modality -> module from its input to features ``(B, D_m)``, with the attribute
            ``out_features = D_m``. Features are concatenated in this order.
        num_classes: Number of classes, at least 2; of other tasks see ``task``.
        unimodal_losses: Add the unimodal losses to the loss.
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
        macro_f1: Log the macro F1 too; for ``"classes"``.
        task: Name of a task in :data:`~inforeg_lightning.models.tasks.TASKS`, which says what
            target, outputs and ``num_classes`` are.
        metrics: Further metrics of the fused prediction: name -> metric of torchmetrics.

    Raises:
        ValueError: ``encoders`` is empty, an encoder has no ``out_features``, a modality is called
            ``"label"`` or ``"present"`` or has a dot in its name, there is no such ``task`` or it
            does not have so few classes, ``optimizer`` is neither, ``macro_f1`` is asked of another
            task, or a ``fusion`` of pixels.
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
        task: str = "classes",
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        super().__init__()
        _check(encoders)
        kind = find_task(task, num_classes)
        if macro_f1 and task != "classes":
            raise ValueError(f"macro_f1 is of task='classes'; leave it out for {task!r}")
        if fusion is not None and task == "pixels":
            raise ValueError("task='pixels' has no fusion but concatenation; leave it out")
        if optimizer not in ("sgd", "adamw"):
            raise ValueError(f"optimizer must be 'sgd' or 'adamw', got {optimizer!r}")
        # Modules belong in the checkpoint's weights, not in its hyperparameters.
        self.save_hyperparameters(ignore=["encoders", "fusion", "metrics"])
        self.modalities = tuple(encoders)
        self.unimodal_losses = unimodal_losses
        self.lr, self.momentum, self.weight_decay = lr, momentum, weight_decay
        self.step_size, self.gamma, self.warmup_epochs = step_size, gamma, warmup_epochs
        self.optimizer, self.task = optimizer, task

        self.encoders = nn.ModuleDict({name: encoders[name] for name in encoders})
        widths = [int(getattr(encoders[name], "out_features")) for name in encoders]  # noqa: B009
        self._concatenates = fusion is None
        self.head = (
            _linear_head(sum(widths), kind.outputs(num_classes), task == "pixels")
            if fusion is None
            else fusion(widths, kind.outputs(num_classes))
        )
        further = {"macro_f1": MulticlassF1Score(num_classes, validate_args=False)}
        fused = kind.metrics(num_classes) | (further if macro_f1 else {}) | dict(metrics or {})
        of_all = {name: metric for name, metric in fused.items() if name == kind.metric}
        self.metrics = nn.ModuleDict(
            {
                _metric_key(stage, name, of): metric.clone()
                for stage in _STAGES
                for of in ("", *self._unimodal)
                for name, metric in (of_all if of else fused).items()
            }
        )
        self.fused_metrics = tuple(fused)

    @property
    def _unimodal(self) -> tuple[str, ...]:
        # With one encoder its logits are the fused logits: the same number twice says nothing.
        return self.modalities if len(self.modalities) > 1 else ()

    def features(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Encode each modality: modality -> ``(B, D_m)``, in the order of ``encoders``."""
        found = {name: encoder(batch[name]) for name, encoder in self.encoders.items()}
        for name, has in _present(batch).items():
            if name in found:
                z = found[name]
                found[name] = torch.where(has.view(-1, *[1] * (z.dim() - 1)), z, 0.0)
        return found

    def forward(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Fused logits, ``(B, num_classes)`` of classes; a batch's ``"label"`` is not needed."""
        return self.fuse(self.features(batch))

    def fuse(self, features: Mapping[str, Tensor]) -> Tensor:
        """Fused logits, ``(B, num_classes)``, of what :meth:`features` returns."""
        parts = [*features.values()]
        dim = TASKS[self.task].dim
        logits: Tensor = self.head(torch.cat(parts, dim=dim) if self._concatenates else parts)
        return logits

    def pooled(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What a probe reads of what :meth:`features` returns: here the same."""
        return dict(features)

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
        task = TASKS[self.task]
        loss = task.loss(fused, label)
        # What each output is compared with: of one modality the samples that have it.
        compared = {"": (fused, label)}
        if self._unimodal:
            with torch.set_grad_enabled(self.unimodal_losses and torch.is_grad_enabled()):
                unimodal = self.unimodal(features)
            present = _present(batch)
            for name, logits in unimodal.items():
                has = present.get(name)
                compared[name] = (logits, label) if has is None else (logits[has], label[has])
            self._take_unimodal(stage, unimodal, label)
            if self.unimodal_losses:
                parts = [of for name, of in compared.items() if name and len(of[1])]
                loss = loss + sum(task.loss(*of) for of in parts)
        self._log_step(stage, loss, compared)
        return loss

    def _take_unimodal(self, stage: str, logits: Mapping[str, Tensor], label: Tensor) -> None:
        """Do something with the unimodal logits of a batch; here nothing."""

    def _log_step(
        self, stage: str, loss: Tensor, compared: Mapping[str, tuple[Tensor, Tensor]]
    ) -> None:
        task = TASKS[self.task]
        once_an_epoch: dict[str, Any] = {
            "on_step": False,
            "on_epoch": True,
            "batch_size": len(compared[""][1]),
        }
        self.log(f"{stage}/loss", loss, sync_dist=True, **once_an_epoch)
        for of, (outputs, label) in compared.items():
            prediction = task.predict(outputs.detach())
            same = prediction.numel() == label.numel()  # (B,) and (B, 1), say
            wanted = label.reshape(prediction.shape) if same else label
            for name in (task.metric,) if of else self.fused_metrics:
                metric = cast(Metric, self.metrics[_metric_key(stage, name, of)])
                if len(label):  # else no sample of this batch has the modality
                    metric.update(prediction, wanted)
                # Logged all the same: processes wait for one another's metrics.
                self.log(
                    f"{stage}/{name}_{of}" if of else f"{stage}/{name}", metric, **once_an_epoch
                )

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


def _present(batch: Mapping[str, Any]) -> Mapping[str, Tensor]:
    found: Mapping[str, Tensor] = batch.get("present", {})
    return found


def _linear_head(width: int, outputs: int, of_pixels: bool) -> nn.Module:
    head = nn.Conv2d(width, outputs, 1) if of_pixels else nn.Linear(width, outputs)
    nn.init.xavier_uniform_(head.weight)
    if head.bias is not None:
        nn.init.zeros_(head.bias)
    return head


def _metric_key(stage: str, name: str, of: str) -> str:
    # A bare stage or modality could collide with an attribute of nn.Module, as "train" does.
    return f"{stage}_{name}_{of}"


def _check(encoders: Mapping[str, nn.Module]) -> None:
    if not encoders:
        raise ValueError("encoders is empty; give at least one modality, as {'audio': module}")
    for name in encoders:
        if name in ("label", "present") or "." in name:
            raise ValueError(
                f"encoders has a modality called {name!r}; 'label' and 'present' are keys of a "
                "batch and dots separate attribute paths, so choose another name"
            )
        if not isinstance(getattr(encoders[name], "out_features", None), int):
            raise ValueError(
                f"encoders[{name!r}] is a {type(encoders[name]).__name__} without an integer "
                "attribute out_features; set it to the width of the encoder's output"
            )
