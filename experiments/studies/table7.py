"""The paper's Table 7, of its supplement: Violent-Flows, over its five folds, and Hateful Memes.

A row of Violent-Flows is, seed by seed, the mean over the folds; a seed that lacks one is left out.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from running.study import Job, Results, Study

if TYPE_CHECKING:
    from inforeg_lightning.report import Run, Summary

FOLDS = tuple(range(5))


def plan(methods: Sequence[str], seeds: Sequence[int]) -> Iterable[Job]:
    """Seed by seed, both data sets, so that an early end leaves whole comparisons."""
    for seed in seeds:
        for method in methods:
            for fold in FOLDS:
                overrides = ("experiment=violent_flows", f"data.fold={fold}")
                yield Job((f"callbacks={method}", *overrides), seed)
            yield Job((f"callbacks={method}", "experiment=hateful_memes"), seed)


def tabulate(seeds: Sequence[int], results: Results) -> "list[Summary]":
    """A summary of each data set, Violent-Flows averaged over its folds."""
    from inforeg_lightning.report import summarise

    folds: dict[tuple[str, int], dict[int, Run]] = {}
    whole: list[Run] = []
    for job, run in results.items():
        fold = next((int(o[-1]) for o in job.overrides if o.startswith("data.fold=")), None)
        if fold is None:
            whole.append(run)
        else:
            folds.setdefault((run.group[0], run.seed), {})[fold] = run
    complete = [of for of in folds.values() if set(of) == set(FOLDS)]
    return summarise([*whole, *(averaged([of[fold] for fold in FOLDS]) for of in complete)])


def averaged(runs: "Sequence[Run]") -> "Run":
    """A run, in memory only, whose numbers are the means of others' that differ by their fold."""
    first = runs[0]
    parts = {
        checkpoint: {
            of: _mean([run.result[checkpoint][of] for run in runs])
            for of in ("val", "test", "probe")
        }
        for checkpoint in ("last", "best")
    }
    variant = first.group[1].replace("data.fold=0", "").strip(",")
    return replace(first, result={**first.result, **parts, "variant": variant})


def _mean(of: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    names = [name for name in of[0] if all(each.get(name) is not None for each in of)]
    return {name: sum(each[name] for each in of) / len(of) for name in names}


STUDY = Study(
    "Table 7: joint training and InfoReg on Violent-Flows (five folds) and Hateful Memes",
    plan=plan,
    tabulate=tabulate,
)
