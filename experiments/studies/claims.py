"""The paper's claims, each decided by the protocol in ``evidence/claims.md``.

``--methods`` names claims here: ``a`` to ``i``, ``star`` (why InfoReg* does not gain), ``balance``
(AutoBalance, a row of README's table) and ``fusions`` (further rows beside those of claim d).
"""

from collections.abc import Iterable, Sequence

from running.claims.rows import CLAIMS, jobs
from running.errors import RecipeError
from running.study import Job, Study


def plan(methods: Sequence[str], seeds: Sequence[int]) -> Iterable[Job]:
    """The runs of the claims that are asked for; those that several need are trained once."""
    if unknown := [name for name in methods if name not in CLAIMS]:
        raise RecipeError(f"--methods {unknown[0]}: the claims are {', '.join(CLAIMS)}")
    return jobs(methods, seeds)


STUDY = Study(
    "the paper's claims (a) to (i) and InfoReg*, pre-registered: one word each",
    methods=tuple(CLAIMS),
    seeds=tuple(range(10)),
    plan=plan,
)
