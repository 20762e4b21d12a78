"""All methods and plain baselines on AV-Digits, by the protocol in ``evidence/comparison.md``.

Every row is given the same four settings: learning rate and weight decay, and beside them the
row's own hyperparameter. Validation accuracy chooses one on the seed that searches; it is then
trained on all seeds. Rows whose callback is not in ``conf/callbacks`` are left out.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from running.baseline_rows import MODALITIES, alone, ensembles, pretrained
from running.compose import CONF
from running.errors import RecipeError
from running.study import Job, Results, Study

if TYPE_CHECKING:
    from inforeg_lightning.report import Run, Summary

SET_UP = ("trainer.max_epochs=8", "++model.step_size=6")
SHORTER = ("trainer.max_epochs=4", "++model.step_size=3")
RATES: tuple[tuple[str, ...], ...] = (
    (),  # the recipe's: 0.02 and 1e-4
    ("++model.lr=0.04",),
    ("++model.lr=0.04", "++model.weight_decay=0.001"),
    ("++model.lr=0.01", "++model.weight_decay=0.001"),
)
SEARCHING = 0  # the seed on which validation chooses
BASELINE, RECIPE = "joint", "joint_recipe"
FROM_ALONE = ("pretrained", "frozen")


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        title: Its name for readers.
        overrides: What makes it what it is.
        own: Values of its own hyperparameter, the default first; the settings take them in turn.
        set_up: The schedule.
    """

    title: str
    overrides: tuple[str, ...]
    own: tuple[tuple[str, ...], ...] = ((),)
    set_up: tuple[str, ...] = SET_UP

    @property
    def exists(self) -> bool:
        """Whether its callback is there."""
        given = dict(override.partition("=")[::2] for override in self.overrides)
        return (CONF / "callbacks" / f"{given.get('callbacks', 'none')}.yaml").exists()

    def settings(self) -> list[Job]:
        """The settings among which validation chooses, the recipe's with the default first."""
        return [
            Job((*self.overrides, *self.set_up, *rate, *self.own[i % len(self.own)]), SEARCHING)
            for i, rate in enumerate(RATES)
        ]


def _method(title: str, name: str, *fixed: str, key: str = "", values: str = "") -> Row:
    """A method; ``key`` is its own hyperparameter, ``values`` what is tried beside the default."""
    own = ((), *((f"++callbacks.{key}={value}",) for value in values.split()))
    return Row(title, (f"callbacks={name}", *fixed), own)


ROWS: dict[str, Row] = {
    BASELINE: Row("Joint training", ("callbacks=none",)),
    **{m: Row(f"{m.capitalize()} alone", alone(m).overrides) for m in MODALITIES},
    "shorter": Row("Joint training, half as long", ("callbacks=none",), set_up=SHORTER),
    "leader_slower": Row(
        "Joint training, audio at a quarter of the learning rate",
        ("callbacks=mslr", "callbacks.mslr.rates=[0.25,1.0]"),
    ),
    "inforeg": Row(
        "InfoReg, the paper's window",
        ("callbacks=inforeg",),
        ((), ("callbacks.inforeg.beta=0.5",), ("callbacks.inforeg.K=0.01",)),
    ),
    "inforeg_adaptive": _method(
        "InfoReg, adaptive window", "inforeg_adaptive", key="inforeg.beta", values="0.5 0.3"
    ),
    "inforeg_official": _method("InfoReg, published code", "inforeg_official"),
    "auto_balance": _method("AutoBalance", "auto_balance"),
    **{
        f"unimodal_losses{after}": _method(
            f"Unimodal losses, {title}",
            "unimodal_losses",
            f"++callbacks.unimodal_losses.unimodal_heads={heads}",
            key="unimodal_losses.weight",
            values="0.5 2.0",
        )
        for after, title, heads in (("", "own heads", "own"), ("_shared", "joint*", "shared"))
    },
    "ogm": _method("OGM", "ogm", key="ogm.alpha", values="0.8 0.3"),
    "ogm_ge": _method("OGM-GE", "ogm_ge", key="ogm_ge.alpha", values="0.8 0.3"),
    "agm": _method("AGM", "agm", key="agm.alpha", values="1.5 0.5"),
    "pmr": _method("PMR, the paper's coefficients", "pmr", key="pmr.alpha", values="3.0 0.3"),
    "pmr_binary": _method(
        "PMR, binary coefficients",
        "pmr",
        *("++callbacks.pmr.coefficients=binary", "++callbacks.pmr.momentum=0.0"),
        key="pmr.alpha",
        values="3.0 0.3",
    ),
    "mslr": _method("MSLR", "mslr", key="mslr.rates", values="[0.25,1.75] [0.5,1.5]"),
    "alternating_greedy": _method(
        "AlternatingGreedy",
        "alternating_greedy",
        key="alternating_greedy.tolerance",
        values="0.1 0.001",
    ),
    **{
        f"gblending{after}": _method(
            f"G-Blending, {title}",
            "gblending",
            *(f"++callbacks.gblending.{of}" for of in ("super_epoch=4", *fixed)),
            key="gblending.super_epoch",
            values="2 8",
        )
        for after, title, fixed in (
            ("", "own heads", ("unimodal_heads=own",)),
            ("_shared", "shared head", ("unimodal_heads=shared",)),
            ("_running", "measured in the joint run", ("measure=running",)),
        )
    },
    **{
        f"mmpareto{after}": _method(
            f"MMPareto, {heads} head{'s' if heads == 'own' else ''}",
            "mmpareto",
            f"++callbacks.mmpareto.unimodal_heads={heads}",
            key="mmpareto.gamma",
            values="1.0 2.0",
        )
        for after, heads in (("", "own"), ("_shared", "shared"))
    },
    "dgl": _method("DGL", "dgl", key="dgl.alpha", values="1.0 2.0"),
    "opm": _method(
        "OPM", "opm", "++callbacks.opm.window=[1,null]", key="opm.q_base", values="0.25 0.75"
    ),
    "modality_dropout": _method(
        "Modality dropout", "modality_dropout", key="modality_dropout.p", values="0.25 0.75"
    ),
    "relearning": _method(
        "Diagnosing & Re-learning",
        "relearning",
        "++callbacks.relearning.every=2",
        key="relearning.lam",
        values="1.0 10.0",
    ),
    "redreg": _method(
        "RedReg",
        "redreg",
        "++callbacks.redreg.agreement_periods=8",
        key="redreg.beta",
        values="0.3 3.0",
    ),
    "mlb": _method("MLB", "mlb", key="mlb.alpha", values="0.4 0.2"),
    "torchjd": _method("TorchJD (UPGrad)", "torchjd"),
    "frozen": Row("Unimodally pretrained encoders, frozen", pretrained(frozen=True).overrides),
    "pretrained": Row("Unimodally pretrained encoders", pretrained(frozen=False).overrides),
}


# Of these, "inforeg_always" and "inforeg_outside" are the paper's Table 4, "greedy" is for networks
# with gates, which this one has not, and of "pdmp" the authors' coefficients were not to be had.
NOT_COMPARED = ("none", "inforeg_always", "inforeg_outside", "greedy", "pdmp")


def settings(name: str, results: Results) -> list[Job]:
    """A row's settings; none yet where they begin from modalities alone that are not chosen."""
    found = ROWS[name].settings()
    if name not in FROM_ALONE:
        return found
    places = {m: chosen(m, results) for m in MODALITIES}
    if any(job is None or job not in results for job in places.values()):
        return []
    folders = {m: str(results[job].folder) for m, job in places.items() if job is not None}
    # Of the same seed, whichever the run has.
    of = {m: f.replace(f"seed={SEARCHING}", "seed=${seed}") for m, f in folders.items()}
    encoders = ",".join(f"{m}:'{folder}'" for m, folder in of.items())
    return [
        replace(
            job,
            overrides=tuple(
                f"init.encoders={{{encoders}}}" if o.startswith("init.encoders=") else o
                for o in job.overrides
            ),
        )
        for job in found
    ]


def chosen(name: str, results: Results) -> Job | None:
    """The setting of the best validation accuracy of the last epoch; the first of equals."""
    scores = search(name, results)
    return max(scores, key=scores.__getitem__) if scores else None


def search(name: str, results: Results) -> dict[Job, float]:
    """Setting -> validation accuracy, of those that have ended and did not diverge."""
    ended = [job for job in settings(name, results) if job in results]
    scores = {job: results[job].validation("last") for job in ended}
    return {job: score for job, score in scores.items() if score is not None}


def plan(methods: Sequence[str], seeds: Sequence[int]) -> Iterator[Job]:
    """The settings of all rows that need nothing before them, on the seed that searches."""
    if unknown := [name for name in methods if name not in ROWS]:
        raise RecipeError(f"--methods {unknown[0]}: the rows are {', '.join(ROWS)}")
    searched = [ROWS[name].settings() for name in methods if name not in FROM_ALONE]
    # Setting by setting: an early end leaves every row with as many as any other.
    for of_all in zip(*searched, strict=True):
        yield from of_all


def further(seeds: Sequence[int], results: Results) -> Iterable[Job]:
    """What has been chosen, on all seeds; then what begins from the modalities alone."""
    found = [job for name in rows(results) if (job := chosen(name, results)) is not None]
    if BASELINE in rows(results):
        found.append(ROWS[BASELINE].settings()[0])
    jobs = [job.with_seed(seed) for seed in seeds for job in found]
    for name in FROM_ALONE:
        jobs += settings(name, results)
    return jobs


def rows(results: Results) -> list[str]:
    """The rows that have begun."""
    return [n for n in ROWS if any(job in results for job in settings(n, results))]


def by_row(seeds: Sequence[int], results: Results) -> "dict[str, list[Run]]":
    """Row -> its runs as they are compared, ensembles among them, each titled as its row."""
    jobs = {name: job for name in rows(results) if (job := chosen(name, results)) is not None}
    if BASELINE in jobs:
        jobs[RECIPE] = ROWS[BASELINE].settings()[0]
    found = {
        name: [results[job.with_seed(s)] for s in seeds if job.with_seed(s) in results]
        for name, job in jobs.items()
    }
    if all(modality in jobs for modality in MODALITIES):
        for run in ensembles(seeds, results, [jobs[modality] for modality in MODALITIES]):
            found.setdefault(str(run.result["method"]), []).append(run)
    return {name: [_as_row(name, run) for run in runs] for name, runs in found.items() if runs}


def tabulate(seeds: Sequence[int], results: Results) -> "list[Summary]":
    """One summary: every row as validation chose it, against joint training so chosen."""
    from inforeg_lightning.report import summarise

    every = [run for runs in by_row(seeds, results).values() for run in runs]
    return summarise(every, BASELINE)


def keep(seeds: Sequence[int], results: Results) -> dict[str, Any]:
    """What is kept of it in ``results/av_digits_methods.json``."""
    entries = {}
    for name, runs in by_row(seeds, results).items():
        scores = search(name, results) if name in ROWS else {}
        job = chosen(name, results) if name in ROWS else None
        entries[name] = {
            "title": runs[0].result["title"],
            "setting": [*job.overrides] if job else [],
            "search": {" ".join(of.overrides): score for of, score in scores.items()},
            "seeds": [run.seed for run in runs],
            "test": _tested(runs),
        }
    return {"protocol": "experiments/evidence/comparison.md", "baseline": BASELINE, "rows": entries}


def _tested(runs: "Sequence[Run]") -> dict[str, list[float]]:
    quantities = [f"{of}_{modality}" for of in ("accuracy", "probe") for modality in MODALITIES]
    found = {q: [run.value("last", q) for run in runs] for q in ("accuracy", *quantities)}
    return {
        quantity: [round(value, 5) for value in values if value is not None]
        for quantity, values in found.items()
        if None not in values
    }


def _as_row(name: str, run: "Run") -> "Run":
    titles = {RECIPE: "Joint training, the recipe's settings"}
    title = ROWS[name].title if name in ROWS else titles.get(name, str(run.result["title"]))
    named = {"method": name, "variant": "", "title": title}
    return replace(run, result={**run.result, **named})


STUDY = Study(
    "all methods and plain baselines, equally tuned: the tables of docs/methods.md",
    methods=tuple(name for name, row in ROWS.items() if row.exists and name not in FROM_ALONE),
    seeds=tuple(range(10)),
    plan=plan,
    further=further,
    tabulate=tabulate,
    keep=keep,
)
