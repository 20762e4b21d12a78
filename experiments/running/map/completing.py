"""The file of the map: what is in it, what is missing, and going on from there."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from inforeg_lightning.diagnosis import Diagnosis
from running import kept
from running.map.cells import SEEDS, all_cells
from running.map.judging import judge
from running.map.measuring import ELSEWHERE, ROWS, measure_cell, measure_elsewhere
from running.map.placing import DIAGNOSIS, MONITOR, by_diagnosis
from running.map.remedies import REMEDIES

FIRST = 3
"""So many seeds of all cells come first."""
_RESULTS = Path(__file__).resolve().parents[2] / "results"


class MapError(ValueError):
    """The map cannot be carried out as asked."""


def carry_on(
    place: Path,
    seeds: Sequence[int] | None,
    rows: Sequence[str],
    workers: int,
    overrides: Sequence[str] = (),
    picture: Path | None = None,
) -> int:
    """Measure what the file lacks, and write it after each cell.

    Args:
        place: The file; made if missing.
        seeds: Of the runs; ``None`` for those of the file, or the protocol's.
        rows: That are trained anew.
        workers: Cells side by side.
        overrides: ``cells=N``: the first N cells only, and no other worlds, to see that it runs.
        picture: Where it goes once all cells are there; by default beside the file.

    Returns:
        The program's exit status.

    Raises:
        MapError: The file has other seeds, or a row or an override is unknown.
        KeptError: The file cannot be read.
    """
    from joblib import Parallel, delayed
    from tqdm import tqdm

    content = kept.read(place)
    known = content.get("seeds")
    if seeds is not None and known not in (None, [*seeds]):
        raise MapError(f"--seeds: {place} has the seeds {known}; give another file with --out")
    if unknown := [row for row in rows if row not in ROWS]:
        raise MapError(f"--methods: there is no row {unknown[0]!r}; there are: {', '.join(ROWS)}")
    content["seeds"] = [*(known or seeds or SEEDS)]
    few = _few(overrides)
    _forget(content, rows)
    # All cells with a few seeds first: an early end leaves a whole map.
    for upto in sorted({min(FIRST, len(content["seeds"])), len(content["seeds"])}):
        if work := _missing(content, content["seeds"][:upto], few):
            pool = Parallel(n_jobs=workers, return_as="generator")
            found = pool(delayed(call)() for _, _, call in work)
            for (part, name, _), of in zip(work, tqdm(found, total=len(work)), strict=True):
                content.setdefault(part, {})[name] = of
                kept.write(place, content)
    evidence = json.loads((_RESULTS / "truth.json").read_text(encoding="utf-8"))
    for name, of in content.get("elsewhere", {}).items():
        chance = evidence["answers"][name]["measured"]["chance"][0]
        of["diagnosis"] = by_diagnosis(evidence["evidence"][name], chance)
    content["cases"] = _cases()
    content["judged"] = judge(content)
    kept.write(place, content)
    print(described(content["judged"]))
    if content["judged"]["cells"] == len(all_cells()):
        from running.map.figure import write  # it takes matplotlib with it

        write(content, picture or place.with_suffix(".png"))
    return 0


def described(judged: Mapping[str, Any]) -> str:
    """The decisions as plain lines."""
    lines = [
        f"{'remedy':<40}{'mean':>7}{'gains':>7}{'harms':>7}{'< −0.3':>8}{'worst':>7}{'best':>7}"
    ]
    for name, of in judged["remedies"].items():
        numbers = (of["gains"], of["harms"], of["below the bound"])
        lines.append(
            f"{REMEDIES[name].title:<40}{of['mean']:>+7.1f}{numbers[0]:>7}{numbers[1]:>7}"
            f"{numbers[2]:>8}{of['worst']:>+7.1f}{of['best']:>+7.1f}"
        )
    return "\n".join(lines)


def _cases() -> dict[str, Any]:
    """The positions of the diagnoses that documents show: of data that are no world of ours."""
    cases = json.loads((_RESULTS / "worked_cases.json").read_text(encoding="utf-8"))
    found = {}
    for name in ("AV-Digits",):
        case = Diagnosis.from_dict(cases[name])
        chance = case.value("accuracy", "largest class")
        assert chance is not None
        found[name] = by_diagnosis(case.evidence, chance.value)
    return found


def _missing(content: Mapping[str, Any], seeds: Sequence[int], few: int | None) -> list[Any]:
    """Part, name and call of everything that is to be measured for these seeds."""
    work = []
    for cell in all_cells()[:few]:
        known = content.get("cells", {}).get(cell.name, {})
        parts = [known.get("accuracy", {}), known.get(DIAGNOSIS, {}), known.get(MONITOR, {})]
        whole = all(len(parts[0].get(row, ())) >= len(seeds) for row in ROWS)
        if not whole or any(len(x) < len(seeds) for of in parts for x in of.values()):
            work.append(("cells", cell.name, partial(measure_cell, cell, seeds, known)))
    for name in ELSEWHERE if few is None else ():
        known = content.get("elsewhere", {}).get(name, {})
        if not all(row in known.get("accuracy", {}) for row in ROWS):
            work.append(("elsewhere", name, partial(measure_elsewhere, name, known)))
    return work


def _forget(content: Mapping[str, Any], rows: Sequence[str]) -> None:
    """Rows that are trained anew."""
    for part in ("cells", "elsewhere"):
        for of in content.get(part, {}).values():
            of["accuracy"] = {row: x for row, x in of["accuracy"].items() if row not in rows}


def _few(overrides: Sequence[str]) -> int | None:
    if not overrides:
        return None
    if len(overrides) > 1 or not re.fullmatch(r"cells=[1-9]\d*", overrides[0]):
        raise MapError(f"{' '.join(overrides)}: the map takes no override but cells=N")
    return int(overrides[0].partition("=")[2])
