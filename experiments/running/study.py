"""What a study is: runs, and what is tabulated of them."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from inforeg_lightning.report import MorePlots, Run, Summary


@dataclass(frozen=True)
class Job:
    """A run of a study.

    Attributes:
        overrides: As on the command line of ``train.py``, without the seed.
        seed: Its seed.
    """

    overrides: tuple[str, ...]
    seed: int

    def with_seed(self, seed: int) -> "Job":
        """The same run with another seed."""
        return replace(self, seed=seed)

    def __str__(self) -> str:
        # "none, seed 0": what tells runs apart comes first in their overrides.
        return (
            f"{', '.join(o.removeprefix('callbacks=') for o in self.overrides)}, seed {self.seed}"
        )


Results = Mapping[Job, "Run"]
"""The finished runs of a study; one that failed or diverged is not among them."""


@dataclass(frozen=True)
class Study:
    """A study, of which each file in ``experiments/studies`` defines one, as ``STUDY``.

    Attributes:
        about: What it shows, as a line of the list of studies.
        methods: Files of ``conf/callbacks``, the baseline among them; ``--methods`` names others.
        seeds: The seeds, unless ``--seeds`` names others.
        overrides: Overrides of every run.
        points: Further overrides, each of which is a run of its own for each method and seed.
        plan: What is trained first, given methods and seeds, if it is not all of these.
        further: What is trained after that, given the seeds and what has been found; asked again
            until it names no new run.
        tabulate: From the results to the summaries that are reported, if it is not one summary per
            experiment.
        keep: From the results to what is written as ``kept.json`` beside the report, for a file in
            ``experiments/results`` that documents are made from.
        appendix: From the results to text that is printed after the tables, and written as
            ``appendix.txt`` beside the report.
        plots: What draws further figures; ``"embeddings"``, or the name of a parameter of InfoReg
            against which accuracy is drawn.
        carry_out: What a study does that has no runs of ``train.py``, given the arguments of the
            command line; it returns the program's exit status.
    """

    about: str
    methods: tuple[str, ...] = ("none", "inforeg")
    seeds: tuple[int, ...] = (0, 1, 2)
    overrides: tuple[str, ...] = ()
    points: tuple[tuple[str, ...], ...] = ((),)
    plan: "Callable[[Sequence[str], Sequence[int]], Iterable[Job]] | None" = None
    further: Callable[[Sequence[int], Results], Iterable[Job]] | None = None
    tabulate: "Callable[[Sequence[int], Results], Sequence[Summary]] | None" = None
    keep: Callable[[Sequence[int], Results], dict[str, Any]] | None = None
    appendix: Callable[[Sequence[int], Results], str] | None = None
    plots: tuple[str, ...] = ()
    carry_out: Callable[[Any], int] | None = None

    def jobs(self, methods: Sequence[str], seeds: Sequence[int]) -> list[Job]:
        """The first runs, seed by seed: an early end leaves whole comparisons."""
        if self.plan is not None:
            return [*self.plan(methods, seeds)]
        return [
            Job((f"callbacks={method}", *self.overrides, *point), seed)
            for seed in seeds
            for method in methods
            for point in self.points
        ]

    def more_plots(self) -> "list[MorePlots]":
        """What draws further figures."""
        # Here: it takes matplotlib with it, seconds that a list of studies should not cost.
        from functools import partial

        from inforeg_lightning.report import embedding_plots, sweep_plots

        return [
            embedding_plots if name == "embeddings" else partial(sweep_plots, parameter=name)
            for name in self.plots
        ]


def names() -> list[str]:
    """The names of all studies, which are those of the files in ``experiments/studies``."""
    import studies

    return sorted(module.name for module in pkgutil.iter_modules(studies.__path__))


def load(name: str) -> Study:
    """The study of a name.

    Raises:
        KeyError: There is none; the names that there are.
    """
    if name not in names():
        raise KeyError(f"there is no study {name!r}; there are:\n{listed()}")
    module: Any = importlib.import_module(f"studies.{name}")
    study: Study = module.STUDY
    return study


def listed() -> str:
    """All studies, a line each."""
    width = max(map(len, names())) + 2
    return "\n".join(f"  {name:<{width}}{load(name).about}" for name in names())
