"""Brings the history back from processes that ``fit`` starts and ends by itself.

Under ``ddp_spawn``, ``ddp_fork`` and ``ddp_notebook`` the Trainer trains in copies of the callback
and brings back weights and metrics only.
"""

import json
import os
import tempfile
import uuid
import weakref
from pathlib import Path
from typing import Any


class Mailbox:
    """A file that a copy of an object writes in another process, for the original to read."""

    def __init__(self) -> None:
        self._born_in = os.getpid()
        self._path = Path(tempfile.gettempdir()) / f"inforeg-{uuid.uuid4().hex}.json"
        weakref.finalize(self, _remove, self._path, self._born_in)

    def __deepcopy__(self, memo: Any) -> "Mailbox":
        """Another one: a copy of a callback in the same process trains for itself."""
        return Mailbox()

    def send(self, history: list[dict[str, Any]]) -> None:
        """Leave a history for the process that this object comes from; nothing in that itself."""
        if os.getpid() == self._born_in:
            return
        half = self._path.with_suffix(".half")
        half.write_text(json.dumps(history))
        half.replace(self._path)

    def collect(self) -> list[dict[str, Any]] | None:
        """What a copy has left, once; ``None`` if nothing."""
        if os.getpid() != self._born_in or not self._path.exists():
            return None
        history: list[dict[str, Any]] = json.loads(self._path.read_text())
        self._path.unlink()
        return history


def _remove(path: Path, born_in: int) -> None:
    if os.getpid() == born_in:
        path.unlink(missing_ok=True)
