"""What a reader must know before comparing groups of runs."""

from collections.abc import Iterator, Mapping
from typing import Any

from inforeg_lightning.report.group import Group
from inforeg_lightning.report.runs import Run

_COMPARED = ("data", "model", "trainer", "threads")
_MOST_LISTED = 4
_LONGEST = 80


def comparability(groups: Mapping[tuple[str, str], Group], baseline: str) -> list[str]:
    """Sentences on missing seeds and baselines, and on settings that differ beyond the method.

    Args:
        groups: ``(method, variant)`` -> group.
        baseline: Name of the method that the others are compared with.
    """
    notes = []
    if single := [group.title for group in groups.values() if len(group.runs) == 1]:
        notes.append(f"One seed only, so no interval: {'; '.join(single)}.")
    for (method, variant), group in groups.items():
        reference = groups.get((baseline, variant))
        if reference is None:
            kind = f"baseline '{baseline}'" + (f" with {variant}" if variant else "")
            notes.append(f"{group.title}: there is no {kind} to compare with.")
            reference = group
        elif set(group.seeds) != set(reference.seeds) and method != baseline:
            notes.append(
                f"{group.title} has the seeds {_listed(group.seeds)}, the baseline "
                f"{_listed(reference.seeds)}; differences are over the seeds that both have."
            )
        notes += _settings(group, reference)
    return notes


def _settings(group: Group, reference: Group) -> Iterator[str]:
    first = {run.seed: run for run in reference.runs}
    for run in group.runs:
        # Some settings follow the seed, so a run is held against the one of the same seed.
        other = first.get(run.seed, reference.runs[0])
        here, there = _flat(_compared(run)), _flat(_compared(other))
        if other.seed != run.seed:
            here.pop("data.seed", None)
            there.pop("data.seed", None)
        changed = [key for key in sorted(here | there) if here.get(key) != there.get(key)]
        if changed:
            shown = "; ".join(
                f"{key} is {_short(here.get(key))}, not {_short(there.get(key))}"
                for key in changed[:_MOST_LISTED]
            )
            more = f" and {len(changed) - _MOST_LISTED} more" if changed[_MOST_LISTED:] else ""
            yield (
                f"{group.title}, seed {run.seed}, differs from {reference.title} beyond the "
                f"method: {shown}{more}."
            )
            return


def _compared(run: Run) -> dict[str, Any]:
    config = run.result.get("config", {})
    settings: dict[str, Any] = {key: config.get(key) for key in _COMPARED}
    return settings | {"epochs": run.result["epochs"], "versions": run.result.get("versions")}


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _listed(seeds: tuple[int, ...]) -> str:
    return ", ".join(map(str, seeds))
