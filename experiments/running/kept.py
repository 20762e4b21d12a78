"""Files of results that a study keeps, and goes on from when it is run again."""

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any


class KeptError(ValueError):
    """A file of results cannot be read."""


def read(place: Path) -> dict[str, Any]:
    """The content of a file; of one that is not there, nothing.

    Raises:
        KeptError: It cannot be read; what to do is said.
    """
    try:
        found: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise KeptError(f"--out: {place} cannot be read ({error}); give another file") from None
    return found


def write(place: Path, content: Mapping[str, Any]) -> None:
    """Write a file whole or not at all: a study that is killed keeps what it had."""
    half = place.with_name(f"{place.name}.partial")
    half.write_text(as_text(content), encoding="utf-8")
    os.replace(half, place)


def as_text(content: Mapping[str, Any]) -> str:
    """JSON whose changes can be read: a line per entry of each part."""
    compact = partial(json.dumps, separators=(",", ":"), ensure_ascii=False)
    parts = []
    for name, of in content.items():
        if isinstance(of, Mapping):
            lines = [f"{compact(key)}: {compact(value)}" for key, value in of.items()]
            parts.append(f"{compact(name)}: {{\n" + ",\n".join(lines) + "\n}")
        else:
            parts.append(f"{compact(name)}: {compact(of)}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
