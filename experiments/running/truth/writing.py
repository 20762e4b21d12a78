"""How the results of worlds are written."""

import json
from functools import partial
from typing import Any


def a_line_per_world(content: dict[str, Any]) -> str:
    """JSON whose changes can be read."""
    compact = partial(json.dumps, separators=(",", ":"))
    parts = []
    for name, of in content.items():
        lines = [f"{json.dumps(key)}: {compact(value)}" for key, value in of.items()]
        parts.append(f"{json.dumps(name)}: {{\n" + ",\n".join(lines) + "\n}")
    return "{\n" + ",\n".join(parts) + "\n}\n"
