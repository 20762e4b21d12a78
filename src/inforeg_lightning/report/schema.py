"""What ``result.json`` and ``history.json`` of a run must hold, wherever they come from."""

import re
from collections.abc import Mapping
from typing import Any

from inforeg_lightning.report.measures import ACCURACY, KNOWN, measure

CHECKPOINTS = ("last", "best")
"""The last epoch, and the one with the best validation accuracy."""

NAME = re.compile(r"\w[\w.+-]{0,63}")
"""What an experiment or a modality may be called: names become parts of paths."""

_LONGEST = 1000
_MOST_MODALITIES = 16
_MOST_PERIODS = 100_000
_LARGEST = 1e30  # of anything drawn; the sum of some more would not be finite


class FolderError(ValueError):
    """A run folder that cannot be used, and why."""


def check_result(result: Mapping[str, Any]) -> None:
    """Check the content of ``result.json``.

    Raises:
        FolderError: The first thing that is wrong, or that the training diverged: such a result is
            whole, and yet has no accuracies.
    """
    needed = ["experiment", "method", "title", "seed", "modalities", "epochs"]
    diverged = result.get("diverged")
    if missing := [k for k in [*needed, *([] if diverged else CHECKPOINTS)] if k not in result]:
        raise FolderError(f"result.json lacks {', '.join(missing)}")
    if not is_name(result["experiment"]):
        raise _wrong("experiment", "a name", result["experiment"])
    for key in ("method", "title"):
        if not is_text(result[key]) or not result[key]:
            raise _wrong(key, "a line of text", result[key])
    if not is_text(result.get("variant", "")):
        raise _wrong("variant", "a line of text", result["variant"])
    metric, further = result.get("metric", ACCURACY), result.get("metrics", [])
    if not is_name(metric):
        raise _wrong("metric", "a name", metric)
    if not isinstance(further, list) or not all(map(is_name, further)):
        raise _wrong("metrics", "names", further)
    for key in ("seed", "epochs"):
        if not is_count(result[key]):
            raise _wrong(key, "a whole number of at least 0", result[key])
    _check_modalities(result["modalities"])
    for key in ("config", "machine", "versions", "seconds"):
        if not isinstance(result.get(key, {}), Mapping):
            raise _wrong(key, "a mapping", result[key])
    if any(not is_number(value) for value in result.get("seconds", {}).values()):
        raise _wrong("seconds", "numbers by name", result["seconds"])
    if diverged is not None:
        if not is_text(diverged) or not diverged:
            raise _wrong("diverged", "a line of text", diverged)
        return
    for checkpoint in CHECKPOINTS:
        _check_checkpoint(checkpoint, result[checkpoint], result["modalities"], metric, further)


def check_history(history: list[Any]) -> None:
    """Check the content of ``history.json``.

    Raises:
        FolderError: An entry is not what a callback's ``history`` holds.
    """
    if len(history) > _MOST_PERIODS:
        raise FolderError(f"history.json has {len(history)} periods; at most {_MOST_PERIODS}")
    for index, entry in enumerate(history):
        if not isinstance(entry, Mapping):
            raise FolderError(f"history.json: entry {index} must be a mapping, found {entry!r:.60}")
        for key in ("epoch", "period"):
            if not is_count(entry.get(key)):
                raise FolderError(
                    f"history.json: {key} of entry {index} must be a whole number of at least 0, "
                    f"found {entry.get(key)!r:.60}"
                )
        for quantity, of in entry.items():
            if not isinstance(of, Mapping):
                continue
            if not is_text(quantity) or not all(_is_value(value) for value in of.values()):
                raise FolderError(
                    f"history.json: {quantity!r:.60} of entry {index} must hold a number, true, "
                    "false or null for each modality"
                )


def check_table(rows: Any) -> None:
    """Refuse a diagnosis whose table cannot be shown.

    Raises:
        FolderError: A row lacks its name, its number or its interval.
    """
    for row in rows:
        texts = [row["measure"], row["of"], row["unit"]]
        numbers = [row["value"], row["low"], row["high"]]
        if not (all(map(is_text, texts)) and all(map(is_number, numbers))):
            raise FolderError(f"diagnosis.json: a row of its table cannot be shown: {row!r:.60}")


def is_name(value: Any) -> bool:
    """Whether a value can be a part of a path."""
    return isinstance(value, str) and NAME.fullmatch(value) is not None


def is_text(value: Any) -> bool:
    """Whether a value is one line that can be shown, of a length that anyone would read."""
    return isinstance(value, str) and len(value) <= _LONGEST and value.isprintable()


def is_count(value: Any) -> bool:
    """Whether a value is a whole number of at least 0, as of epochs and seeds."""
    return type(value) is int and 0 <= value < 2**63


def is_number(value: Any) -> bool:
    """Whether a value is a number that can be drawn."""
    return type(value) in (int, float) and abs(value) <= _LARGEST


def _is_value(value: Any) -> bool:
    # Python's NaN and Infinity may stand in a history: they are left out when it is drawn.
    return value is None or isinstance(value, bool | float) or is_number(value)


def _check_modalities(modalities: Any) -> None:
    whole = isinstance(modalities, list | tuple) and 0 < len(modalities) <= _MOST_MODALITIES
    if not whole or not all(map(is_name, modalities)) or len({*modalities}) < len(modalities):
        raise _wrong("modalities", f"1 to {_MOST_MODALITIES} different names", modalities)


def _check_checkpoint(
    checkpoint: str, part: Any, modalities: list[str], metric: str, further: list[str]
) -> None:
    if not isinstance(part, Mapping):
        raise _wrong(checkpoint, "a mapping", part)
    for key in ("val", "test", "probe"):
        if not isinstance(part.get(key, {}), Mapping):
            raise _wrong(f"{checkpoint}.{key}", "a mapping", part[key])
    if metric not in part.get("test", {}):
        raise FolderError(f"result.json has no test {metric} for {checkpoint}")
    of = {metric: metric, **{f"{metric}_{m}": metric for m in modalities}}
    others = {name: name for name in (*KNOWN, *further) if name not in of}
    values = [
        (f"{checkpoint}.{key}.{name}", value, (of | others)[name])
        for key in ("val", "test")
        for name, value in part.get(key, {}).items()
        # What is not the metric itself may be nothing: a correlation with what is all the same.
        if name in of or (name in others and value is not None and value == value)
    ]
    values += [(f"{checkpoint}.probe.{m}", v, metric) for m, v in part.get("probe", {}).items()]
    for path, value, name in values:
        if not is_number(value) or (measure(name).share and not 0 <= value <= 1):
            expected = "a number from 0 to 1" if measure(name).share else "a number"
            raise _wrong(path, expected, value)


def _wrong(key: str, expected: str, found: Any) -> FolderError:
    return FolderError(f"result.json: {key} must be {expected}, found {found!r:.60}")
