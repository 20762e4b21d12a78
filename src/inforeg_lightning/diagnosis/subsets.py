"""What a trained model is worth under every subset of its modalities: missing modalities."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from inforeg_lightning.diagnosis.errors import DiagnosisError
from inforeg_lightning.diagnosis.holding import Modules, recorded, replayed, zeroed
from inforeg_lightning.diagnosis.intervals import Array, Estimate, estimate
from inforeg_lightning.diagnosis.modules import find_modules
from inforeg_lightning.diagnosis.reading import evaluation_step, replaced
from inforeg_lightning.engine.probe.head import evaluating
from inforeg_lightning.engine.probe.target import Target, find_target

Subset = tuple[str, ...]
"""Modalities that are there, in the order of ``encoders``."""

_MOST = 8
_RESAMPLES = 200


@dataclass(frozen=True)
class Subsets:
    """What a model is worth under subsets of its modalities.

    Attributes:
        metric: Name of the metric.
        values: Subset -> its value, with a 95 % interval.
        samples: How many samples were evaluated.
        hits: Subset -> whether each sample was classified rightly, shape ``(N,)``; empty where the
            metric is not accuracy.
    """

    metric: str
    values: Mapping[Subset, Estimate]
    samples: int
    hits: Mapping[Subset, Array]

    def __str__(self) -> str:
        """A table in plain text."""
        unit = " in %" if self.metric == "accuracy" else ""
        head = f"{self.metric}{unit}, {self.samples} samples, 95 % interval over samples"
        of_metric = _number if self.metric == "accuracy" else _plain
        shown = {subset_title(subset): of_metric(of) for subset, of in self.values.items()}
        width = max(map(len, shown))
        return "\n".join([head, *(f"  {name:<{width}}  {value}" for name, value in shown.items())])

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        values = {subset_title(subset): of.to_dict() for subset, of in self.values.items()}
        return {"metric": self.metric, "samples": self.samples, "values": values}


def evaluate_subsets(
    module: Any,
    encoders: Mapping[str, str | Sequence[str]],
    head: str,
    loader: Iterable[Any],
    *,
    target: Target = None,
    metric: Any = None,
    step: Callable[[Any], Any] | None = None,
    subsets: Iterable[Collection[str]] | None = None,
) -> Subsets:
    """Evaluate a trained model with modalities missing: their features are zero before the head.

    Each batch is encoded once; the head runs once per subset. Nothing is trained and no weight
    changes. Metrics that the module itself keeps in its step are reset afterwards.

    Args:
        module: The LightningModule; any torch module with ``step``.
        encoders: Modality -> attribute path (or several) of its encoder, as for the callbacks.
        head: Attribute path of the fusion head.
        loader: Batches, as for validation.
        target: Where the target is in the batch, as for the callbacks.
        metric: Any metric of torchmetrics that takes the head's output and the target; its interval
            is from 200 bootstrap samples. By default accuracy over classes, with Wilson's interval.
        step: Runs the module on a batch so that encoders and head are called; by default the
            module's own ``validation_step``.
        subsets: Which subsets; by default all, of up to 8 modalities, the empty one too: with
            nothing but the head's bias, it is what guessing is worth.

    Raises:
        DiagnosisError: A subset names no modality, or there are too many; the loader is empty; an
            encoder or the head is not called; or no output with shape ``(B, C)`` and class indices
            are there for accuracy.
    """
    chosen = _chosen(tuple(encoders), subsets)
    modules, found = find_modules(module, encoders, head)
    outputs, label = _outputs(module, modules, found, head, loader, target, step, chosen)
    if metric is not None:
        values = {subset: _bootstrapped(metric, x, label) for subset, x in outputs.items()}
        return Subsets(type(metric).__name__, values, len(label), {})
    hits = {subset: _hits(x, label) for subset, x in outputs.items()}
    values = {subset: _wilson(of) for subset, of in hits.items()}
    return Subsets("accuracy", values, len(label), hits)


def compare_subsets(runs: Mapping[str, Sequence[Subsets]]) -> str:
    """A table in plain text: a line per method, a column per subset, in points of accuracy.

    Intervals are over samples and seeds at once, as those of a diagnosis.

    Args:
        runs: Method -> its runs, of the same test samples.

    Raises:
        DiagnosisError: There are no runs, or they differ in their subsets or samples.
    """
    measured = [run for of in runs.values() for run in of]
    if not measured or any(
        (run.samples, [*run.hits]) != (measured[0].samples, [*measured[0].hits]) for run in measured
    ):
        raise DiagnosisError("runs must be one or more, all with the same subsets and samples")
    columns = [*measured[0].hits]
    lines = [["method", "seeds", *map(subset_title, columns)]]
    for method, of in runs.items():
        cells = [_number(estimate(np.stack([run.hits[c] for run in of]))) for c in columns]
        lines.append([method, str(len(of)), *cells])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def subset_title(subset: Subset) -> str:
    """A subset in words."""
    return " + ".join(subset) or "none"


def _chosen(names: Subset, subsets: Iterable[Collection[str]] | None) -> list[Subset]:
    if subsets is None:
        if len(names) > _MOST:
            raise DiagnosisError(
                f"{len(names)} modalities have {2 ** len(names)} subsets, and up to {_MOST} "
                "modalities are all evaluated: name some in `subsets`"
            )
        return [kept for n in range(len(names), -1, -1) for kept in combinations(names, n)]
    found = []
    for subset in subsets:
        if isinstance(subset, str) or (unknown := sorted({*subset} - {*names})):
            wrong = subset if isinstance(subset, str) else unknown[0]
            raise DiagnosisError(
                f"`subsets` has {wrong!r}, but each must be a list of {', '.join(names)}"
            )
        found.append(tuple(name for name in names if name in subset))
    return [*dict.fromkeys(found)]


@torch.no_grad()
def _outputs(
    module: Any,
    modules: Modules,
    head: nn.Module,
    path: str,
    loader: Iterable[Any],
    target: Target,
    step: Callable[[Any], Any] | None,
    subsets: Sequence[Subset],
) -> tuple[dict[Subset, Tensor], Tensor]:
    """Subset -> the head's output for all samples, and their targets, on the host."""
    from torch.utils._pytree import tree_map_only

    run = _own_step(module) if step is None else step
    device = next(module.parameters()).device
    parts: dict[Subset, list[Tensor]] = {subset: [] for subset in subsets}
    targets: list[Tensor] = []
    silent = {"log": _ignore, "log_dict": _ignore} if step is None else {}
    with evaluating(module), replaced(module, **silent):
        for batch in loader:
            batch = tree_map_only(Tensor, lambda tensor: tensor.to(device), batch)
            with recorded(modules, head) as (calls, made):
                run(batch)
            _check_called(calls, made, path)
            for subset in subsets:
                held = [name for name in modules if name not in subset]
                with replayed(modules, zeroed(calls, held)), recorded({}, head) as (_, outputs):
                    run(batch)
                parts[subset].append(outputs[0].detach().float().cpu())
            targets.append(find_target(batch, target).detach().cpu())
    _reset_metrics(module)
    if not targets:
        raise DiagnosisError("`loader` is empty: give the batches to evaluate")
    return {subset: torch.cat(of) for subset, of in parts.items()}, torch.cat(targets)


def _check_called(calls: Mapping[str, Any], made: Sequence[Any], path: str) -> None:
    for modality, of in calls.items():
        if not all(of):
            raise DiagnosisError(
                f"encoders[{modality!r}] is not called in the step: give the path of what makes "
                "the features"
            )
    if not made or not isinstance(made[0], Tensor):
        raise DiagnosisError(
            f"`head={path!r}` is not called in the step, or returns no tensor: give the path of "
            "the module that makes the logits"
        )


def _own_step(module: Any) -> Callable[[Any], Any]:
    own = evaluation_step(module)
    return lambda batch: own(batch, 0)


def _reset_metrics(module: nn.Module) -> None:
    from torchmetrics import Metric

    for part in module.modules():
        if isinstance(part, Metric):
            part.reset()


def _hits(outputs: Tensor, target: Tensor) -> Array:
    if outputs.dim() != 2 or target.shape != outputs.shape[:1] or target.is_floating_point():
        raise DiagnosisError(
            f"accuracy needs logits (B, C) and class indices (B,), but the head returns "
            f"{tuple(outputs.shape)} for targets {tuple(target.shape)}, {target.dtype}; give "
            "`metric`"
        )
    return np.asarray((outputs.argmax(dim=1) == target).numpy())


def _wilson(hits: Array) -> Estimate:
    from scipy.stats import binomtest

    found = binomtest(int(hits.sum()), len(hits)).proportion_ci(method="wilson")
    return Estimate(float(hits.mean()), float(found.low), float(found.high))


def _bootstrapped(metric: Any, outputs: Tensor, target: Tensor) -> Estimate:
    """The metric, and the middle 95 % of its values on samples drawn anew with replacement."""

    def value(rows: Tensor) -> float:
        metric.reset()
        metric.update(outputs[rows], target[rows])
        return float(metric.compute())

    generator = torch.Generator().manual_seed(0)
    size = len(target)
    found = [value(torch.randint(size, (size,), generator=generator)) for _ in range(_RESAMPLES)]
    low, high = np.quantile(found, [0.025, 0.975])
    whole = value(torch.arange(size))
    metric.reset()
    return Estimate(whole, float(low), float(high))


def _number(of: Estimate) -> str:
    return f"{100 * of.value:.1f} ({100 * of.low:.1f} to {100 * of.high:.1f})"


def _plain(of: Estimate) -> str:
    return f"{of.value:.4g} ({of.low:.4g} to {of.high:.4g})"


def _ignore(*args: Any, **kwargs: Any) -> None:
    """Say nothing: what a module logs here is of no training."""
