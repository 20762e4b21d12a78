"""Fresh modules from the user's build function, checked, with their encoders and head found."""

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from inforeg_lightning.diagnosis.errors import DiagnosisError
from inforeg_lightning.engine.checks import check_encoders, resolve

Build = Callable[[], Any]
"""Makes a fresh LightningModule, or a torch module and ``loss(module, batch)`` as a pair."""

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


class WithLoss(L.LightningModule):
    """A plain torch module that is trained by a loss function.

    Args:
        model: The module.
        loss: ``loss(model, batch)``, a scalar.
        optimizer: Makes the optimizer of the module's parameters.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[nn.Module, Any], Tensor],
        optimizer: MakeOptimizer,
    ) -> None:
        super().__init__()
        self.model = model
        self._loss, self._make = loss, optimizer

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        return self._loss(self.model, batch)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """The forward pass of a batch."""
        self._loss(self.model, batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The one that was asked for."""
        return self._make(self.model.parameters())


def adam(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Adam with torch's defaults, for a plain torch module without an optimizer of its own."""
    return torch.optim.Adam(parameters)


def build_module(build: Build, optimizer: MakeOptimizer = adam) -> Any:
    """A fresh LightningModule.

    Raises:
        DiagnosisError: ``build`` returns something else.
    """
    built = build()
    if isinstance(built, tuple) and len(built) == 2 and isinstance(built[0], nn.Module):
        return WithLoss(built[0], built[1], optimizer)
    if isinstance(built, nn.Module) and hasattr(built, "training_step"):
        return built
    raise DiagnosisError(
        f"`build` must return a LightningModule, or (module, loss) with `loss(module, batch)`, but "
        f"returns {type(built).__name__}"
    )


def framework_of(module: nn.Module) -> ModuleType:
    """The package whose Trainer trains a LightningModule, as it has two names."""
    for base in type(module).__mro__:
        if base.__name__ == "LightningModule":
            package = base.__module__.split(".")[0]
            return importlib.import_module(
                "lightning.pytorch" if package == "lightning" else package
            )
    raise DiagnosisError(
        f"`build` returns a {type(module).__name__} with a training_step that is no LightningModule"
    )


def find_modules(
    module: nn.Module, encoders: Mapping[str, str | Sequence[str]], head: str
) -> tuple[dict[str, list[nn.Module]], nn.Module]:
    """The encoders' modules by modality, and the head; paths of a wrapped module are its own."""
    root = module.model if isinstance(module, WithLoss) else module
    found = {
        modality: [resolve(root, path, f"encoders[{modality!r}]") for path in paths]
        for modality, paths in check_encoders(encoders).items()
    }
    return found, resolve(root, head, "head")


def whole_paths(
    module: nn.Module, encoders: Mapping[str, str | Sequence[str]], head: str
) -> tuple[dict[str, list[str]], str]:
    """The attribute paths as they are in the LightningModule."""
    prefix = "model." if isinstance(module, WithLoss) else ""
    paths = {m: [prefix + path for path in of] for m, of in check_encoders(encoders).items()}
    return paths, prefix + head


def check_build(build: Build, optimizer: MakeOptimizer = adam) -> None:
    """Build twice, and refuse what differs.

    Raises:
        DiagnosisError: Names or shapes of the weights differ, or both are the same object.
    """
    first, second = build_module(build, optimizer), build_module(build, optimizer)
    one, other = (getattr(m, "model", m) if isinstance(m, WithLoss) else m for m in (first, second))
    if one is other:
        raise DiagnosisError(
            "`build` returns the same module twice: it must make a fresh one at every call"
        )
    shapes = [
        {
            name: tuple(x.shape)
            for name, x in [*module.named_parameters(), *module.named_buffers()]
            if not is_lazy(x)
        }
        for module in (one, other)
    ]
    for name in sorted({*shapes[0], *shapes[1]}):
        found = [of.get(name) for of in shapes]
        if found[0] != found[1]:
            raise DiagnosisError(
                f"`build` is not deterministic in shape: {name} is {found[0]} in one module and "
                f"{found[1]} in the next; it must make the same network at every call"
            )
