"""The metrics that runs are compared by: how each is called, shown, and which way is better."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ACCURACY = "accuracy"
"""The metric of a result that names none."""


@dataclass(frozen=True)
class Measure:
    """How a metric is read.

    Attributes:
        title: Its name for readers.
        share: Whether it is from 0 to 1 and shown in percent, its differences in points; any other
            number is shown as it is.
        lower_is_better: Whether a smaller value is the better one, as of an error.
    """

    title: str
    share: bool = True
    lower_is_better: bool = False

    @property
    def scale(self) -> int:
        """What a value is multiplied with to be shown."""
        return 100 if self.share else 1

    @property
    def said(self) -> str:
        """Its name, its unit, and which way is better where a reader may not know."""
        return (
            f"{self.title}{' in %' if self.share else ''}"
            f"{' (lower is better)' if self.lower_is_better else ''}"
        )

    def text(self, value: float) -> str:
        """A value, without its unit."""
        return f"{100 * value:.1f}" if self.share else f"{value:.3f}"

    def difference(self, value: float) -> str:
        """A difference, with its sign."""
        return f"{100 * value:+.1f}" if self.share else f"{value:+.3f}"


_MEASURES = {
    ACCURACY: Measure("accuracy"),
    "macro_f1": Measure("macro F1"),
    "f1": Measure("F1"),
    "auroc": Measure("AUROC"),
    "average_precision": Measure("average precision"),
    "iou": Measure("mean IoU"),
    "acc_2": Measure("Acc-2"),
    "acc_7": Measure("Acc-7"),
    "kappa": Measure("weighted kappa", share=False),
    "correlation": Measure("correlation", share=False),
    "mae": Measure("MAE", share=False, lower_is_better=True),
    "rmse": Measure("RMSE", share=False, lower_is_better=True),
}

KNOWN = tuple(_MEASURES)
"""The names of the metrics whose titles and directions are known."""


def measure(name: str) -> Measure:
    """How the metric of a name is read; one that is not known is a plain number."""
    return _MEASURES.get(name, Measure(name, share=False))


def metric_of(result: Mapping[str, Any]) -> str:
    """The metric that a run's result is compared by."""
    return str(result.get("metric", ACCURACY))


def further_metrics(result: Mapping[str, Any], checkpoint: str) -> list[str]:
    """The other metrics of a run's fused prediction, in the order of the known ones."""
    found = result[checkpoint]["test"]
    named = [*_MEASURES, *result.get("metrics", ())]
    return [n for n in dict.fromkeys(named) if n in found and n != metric_of(result)]
