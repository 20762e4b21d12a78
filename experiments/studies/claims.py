"""The paper's claims, each decided by the protocol in ``evidence/claims.md``.

``--methods`` names claims here: ``a`` to ``i``, ``star`` (why InfoReg* does not gain), ``balance``
(AutoBalance, a row of the demo) and ``fusions`` (further rows beside those of claim d).
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from running.claims.rows import CLAIMS, jobs
from running.errors import RecipeError
from running.study import Job, Results, Study

if TYPE_CHECKING:
    from inforeg_lightning.report import Summary

COMPARISON = Path(__file__).resolve().parents[1] / "results" / "av_digits_methods.json"


def plan(methods: Sequence[str], seeds: Sequence[int]) -> Iterable[Job]:
    """The runs of the claims that are asked for; those that several need are trained once."""
    if unknown := [name for name in methods if name not in CLAIMS]:
        raise RecipeError(f"--methods {unknown[0]}: the claims are {', '.join(CLAIMS)}")
    return jobs(methods, seeds)


def tabulate(seeds: Sequence[int], results: Results) -> "list[Summary]":
    """The main rows against joint training; all others are in the appendix."""
    from inforeg_lightning.report import summarise
    from running.claims.reading import drawable, runs_by_row

    return summarise(drawable(runs_by_row(seeds, results)), "joint")


def keep(seeds: Sequence[int], results: Results) -> dict[str, Any]:
    """What is kept of it in ``results/claims.json``."""
    from running.claims.reading import kept

    return kept(seeds, results)


def appendix(seeds: Sequence[int], results: Results) -> str:
    """One word per claim, and the tables of ``docs/evidence.md``."""
    from running.claims.tables import claims_table, rows_tables, star_table

    found = keep(seeds, results)
    comparison = json.loads(COMPARISON.read_text(encoding="utf-8"))
    return "\n\n".join([claims_table(found), rows_tables(found, comparison), star_table(found)])


STUDY = Study(
    "the paper's claims (a) to (i) and InfoReg*, pre-registered: one word each",
    methods=tuple(CLAIMS),
    seeds=tuple(range(10)),
    plan=plan,
    tabulate=tabulate,
    keep=keep,
    appendix=appendix,
)
