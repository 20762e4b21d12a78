"""Small Multiple Features in the true format: a text file per view, one digit per line."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from inforeg_lightning.data.multiple_features import VIEWS


def write_views(root: Path, views: Iterable[str] = VIEWS, spread: float = 2.0) -> None:
    """Write 2,000 lines per view, whose class moves every feature by its own amount."""
    draw = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    label = np.arange(2000) // 200
    for view in views:
        prototypes = spread * draw.standard_normal((10, VIEWS[view]))
        features = 100 * (prototypes[label] + draw.standard_normal((2000, VIEWS[view])))
        np.savetxt(root / f"mfeat-{view}", features, fmt="%5.0f")
