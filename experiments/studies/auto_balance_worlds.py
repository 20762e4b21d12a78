"""AutoBalance on generated worlds: whether it keeps still where no modality starves."""

import json
import sys
from pathlib import Path
from typing import Any

from running.study import Study

RESULTS = Path(__file__).resolve().parents[1] / "results" / "auto_balance_worlds.json"


def carry_out(arguments: Any) -> int:
    """Measure the worlds that are missing in ``results/auto_balance_worlds.json``, or ``--out``."""
    from running.balanced_worlds import complete

    place = arguments.out or RESULTS
    try:
        content = json.loads(place.read_text(encoding="utf-8"))
    except FileNotFoundError:
        content = {}
    except (OSError, ValueError) as error:
        print(f"--out: {place} cannot be read ({error}); give another file", file=sys.stderr)
        return 1
    for found in complete(content, STUDY.seeds):
        lines = [f"{json.dumps(name)}: {json.dumps(rows)}" for name, rows in found.items()]
        place.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        print(f"{len(found)} worlds", flush=True)
    return 0


STUDY = Study(
    "AutoBalance on generated worlds: does it keep still? (no overrides)",
    methods=(),
    carry_out=carry_out,
)
