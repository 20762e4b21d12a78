"""Groups of runs that differ only by seed, each against its baseline."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from inforeg_lightning.report.group import Group
from inforeg_lightning.report.measures import ACCURACY, further_metrics, measure
from inforeg_lightning.report.notes import comparability
from inforeg_lightning.report.runs import Run
from inforeg_lightning.report.schema import CHECKPOINTS
from inforeg_lightning.report.statistics import Interval, mean_interval, paired_difference


@dataclass(frozen=True)
class Cell:
    """One quantity of one group: its mean, and its difference to the baseline."""

    value: Interval
    difference: Interval | None


@dataclass(frozen=True)
class Summary:
    """One experiment.

    Attributes:
        experiment: Its name.
        groups: The baseline first, the others by title.
        modalities: Names of the modalities.
        metric: What its runs are compared by.
        further: Further metrics of the fused prediction.
        cells: ``(index of the group, checkpoint, quantity)`` -> cell; absent without a value.
        notes: What a reader must know before comparing.
    """

    experiment: str
    groups: tuple[Group, ...]
    modalities: tuple[str, ...]
    cells: Mapping[tuple[int, str, str], Cell]
    notes: tuple[str, ...]
    baseline: str
    metric: str = ACCURACY
    further: tuple[str, ...] = ()

    @property
    def quantities(self) -> tuple[str, ...]:
        """The columns; see :func:`quantities`."""
        return quantities(self.modalities, self.metric, self.further)

    def is_baseline(self, group: Group) -> bool:
        """Whether a group is compared with, not compared."""
        return group.runs[0].group[0] == self.baseline

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; accuracies are fractions."""
        methods = []
        for index, group in enumerate(self.groups):
            method, variant = group.runs[0].group
            entry: dict[str, Any] = {"method": method, "variant": variant, "title": group.title}
            entry |= {"seeds": list(group.seeds), "epochs": group.runs[0].result["epochs"]}
            entry["validation"] = {c: group.validations(c) for c in CHECKPOINTS}
            for checkpoint in CHECKPOINTS:
                entry[checkpoint] = {
                    quantity: cell.value.to_dict()
                    | {"difference": cell.difference and cell.difference.to_dict()}
                    | {"by_seed": group.values(checkpoint, quantity)}
                    for quantity in self.quantities
                    if (cell := self.cells.get((index, checkpoint, quantity)))
                }
            methods.append(entry)
        named = {"baseline": self.baseline, "metric": self.metric}
        return named | {"methods": methods, "notes": list(self.notes)}


def summarise(runs: Iterable[Run], baseline: str = "none") -> list[Summary]:
    """Fold runs into one summary per experiment.

    Args:
        runs: Finished runs.
        baseline: Name of the method that all others are compared with, seed by seed. A method
            with further overrides is compared with the baseline that has the same.

    Returns:
        The summaries, sorted by experiment.
    """
    every = list(runs)
    metrics: dict[str, set[str]] = {}
    for run in every:
        metrics.setdefault(run.experiment, set()).add(run.metric)
    by_experiment: dict[str, dict[tuple[str, str], list[Run]]] = {}
    for run in every:
        # Runs of two metrics are never compared, whatever their experiment is called.
        after = f", {measure(run.metric).title}" if len(metrics[run.experiment]) > 1 else ""
        of = by_experiment.setdefault(f"{run.experiment}{after}", {})
        of.setdefault(run.group, []).append(run)
    return [
        _summarise(experiment, groups, baseline)
        for experiment, groups in sorted(by_experiment.items())
    ]


def _summarise(
    experiment: str, by_group: Mapping[tuple[str, str], Sequence[Run]], baseline: str
) -> Summary:
    order = sorted(by_group, key=lambda key: (key[0] != baseline, key))
    # What all runs have in common tells none from another: it is said once, not in every title.
    common = {variant for _, variant in order} if len({v for _, v in order}) == 1 else {""}
    groups = {key: _group(by_group[key], common) for key in order}
    modalities = tuple(dict.fromkeys(m for g in groups.values() for m in g.runs[0].modalities))
    every = [run for group in groups.values() for run in group.runs]
    further = tuple(dict.fromkeys(n for r in every for n in further_metrics(r.result, "last")))
    metric = every[0].metric
    cells: dict[tuple[int, str, str], Cell] = {}
    for index, key in enumerate(order):
        reference = None if key[0] == baseline else groups.get((baseline, key[1]))
        for checkpoint in CHECKPOINTS:
            for quantity in quantities(modalities, metric, further):
                if values := groups[key].values(checkpoint, quantity):
                    other = reference.values(checkpoint, quantity) if reference else {}
                    cells[index, checkpoint, quantity] = Cell(
                        mean_interval(list(values.values())), paired_difference(values, other)
                    )
    notes = [f"All runs with {variant}." for variant in common if variant]
    notes += comparability(groups, baseline)
    return Summary(
        experiment,
        tuple(groups.values()),
        modalities,
        cells,
        tuple(notes),
        baseline,
        metric,
        further,
    )


def _group(runs: Sequence[Run], common: Collection[str]) -> Group:
    title, variant = str(runs[0].result["title"]), runs[0].group[1]
    shown = title if variant in common or not variant else f"{title} [{variant}]"
    return Group(tuple(sorted(runs, key=lambda run: run.seed)), shown)


def quantities(
    modalities: Iterable[str], metric: str = ACCURACY, further: Iterable[str] = ()
) -> tuple[str, ...]:
    """The columns: the fused metrics, each head's, each probe's, and the heads' imbalance.

    Args:
        modalities: Names of the modalities.
        metric: What runs are compared by.
        further: Further metrics of the fused prediction.
    """
    names = [*modalities]
    heads, probes = [f"{metric}_{m}" for m in names], [f"probe_{m}" for m in names]
    return (metric, *further, *heads, *probes, "imbalance")
