"""The file of the map: what is in it, what is missing, and going on from there."""

import json
import re
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from running.map.cells import SEEDS, Cell, all_cells
from running.map.judging import judge
from running.map.measuring import ELSEWHERE, ROWS, measure_cell, measure_elsewhere
from running.map.placing import by_diagnosis
from running.map.remedies import REMEDIES

_TRUTH = Path(__file__).resolve().parents[2] / "results" / "truth.json"


class MapError(ValueError):
    """The map cannot be carried out as asked."""


def carry_on(
    place: Path,
    seeds: Sequence[int] | None,
    rows: Sequence[str],
    workers: int,
    overrides: Sequence[str] = (),
) -> int:
    """Measure what the file lacks, and write it after each cell.

    Args:
        place: The file; made if missing.
        seeds: Of the runs; ``None`` for those of the file, or the protocol's.
        rows: That are trained anew.
        workers: Cells side by side.
        overrides: ``cells=N``: the first N cells only, and no other worlds, to see that it runs.

    Returns:
        The program's exit status.

    Raises:
        MapError: The file cannot be used, or a row or an override is unknown.
    """
    from joblib import Parallel, delayed
    from tqdm import tqdm

    content = read(place)
    known = content.get("seeds")
    if seeds is not None and known not in (None, [*seeds]):
        raise MapError(f"--seeds: {place} has the seeds {known}; give another file with --out")
    if unknown := [row for row in rows if row not in ROWS]:
        raise MapError(f"--methods: there is no row {unknown[0]!r}; there are: {', '.join(ROWS)}")
    content["seeds"] = [*(known or seeds or SEEDS)]
    work = _missing(content, _few(overrides), rows)
    if work:
        pool = Parallel(n_jobs=workers, return_as="generator")
        found = pool(delayed(call)() for _, _, call in work)
        for (part, name, _), of in zip(work, tqdm(found, total=len(work)), strict=True):
            content.setdefault(part, {})[name] = of
            place.write_text(as_text(content), encoding="utf-8")
    evidence = json.loads(_TRUTH.read_text(encoding="utf-8"))
    for name, of in content.get("elsewhere", {}).items():
        chance = evidence["answers"][name]["measured"]["chance"][0]
        of["diagnosis"] = by_diagnosis(evidence["evidence"][name], chance)
    content["judged"] = judge(content)
    place.write_text(as_text(content), encoding="utf-8")
    print(described(content["judged"]))
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


def read(place: Path) -> dict[str, Any]:
    """The content of a file of the map; of one that is not there, nothing."""
    try:
        found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise MapError(f"--out: {place} cannot be read ({error}); give another file") from None
    return found


def as_text(content: Mapping[str, Any]) -> str:
    """JSON whose changes can be read: a line per cell."""
    compact = partial(json.dumps, separators=(",", ":"), ensure_ascii=False)
    parts = []
    for name, of in content.items():
        if isinstance(of, Mapping):
            lines = [f"{compact(key)}: {compact(value)}" for key, value in of.items()]
            parts.append(f"{compact(name)}: {{\n" + ",\n".join(lines) + "\n}")
        else:
            parts.append(f"{compact(name)}: {compact(of)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"


def _missing(content: Mapping[str, Any], few: int | None, anew: Sequence[str]) -> list[Any]:
    """Part, name and call of everything that is to be measured."""
    seeds, work = content["seeds"], []
    cells: Sequence[Cell] = all_cells()[:few]
    for cell in cells:
        known = _without(content.get("cells", {}).get(cell.name, {}), anew)
        if not _is_whole(known, ("diagnosis", "monitor")):
            work.append(("cells", cell.name, partial(measure_cell, cell, seeds, known)))
    for name in ELSEWHERE if few is None else ():
        known = _without(content.get("elsewhere", {}).get(name, {}), anew)
        if not _is_whole(known):
            work.append(("elsewhere", name, partial(measure_elsewhere, name, known)))
    return work


def _is_whole(known: Mapping[str, Any], needs: Sequence[str] = ()) -> bool:
    return all(row in known.get("accuracy", {}) for row in ROWS) and all(n in known for n in needs)


def _without(known: Mapping[str, Any], rows: Sequence[str]) -> dict[str, Any]:
    """What is known but for rows that are trained anew."""
    kept = {row: x for row, x in known.get("accuracy", {}).items() if row not in rows}
    return {**known, "accuracy": kept} if known else {}


def _few(overrides: Sequence[str]) -> int | None:
    if not overrides:
        return None
    if len(overrides) > 1 or not re.fullmatch(r"cells=[1-9]\d*", overrides[0]):
        raise MapError(f"{' '.join(overrides)}: the map takes no override but cells=N")
    return int(overrides[0].partition("=")[2])
