"""Files that are fetched once and kept: where they are kept."""

import os
from pathlib import Path


def default_root() -> Path:
    """The library's folder in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "inforeg-lightning"
