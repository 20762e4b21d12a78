"""The windows there are, and what a history must always be."""

import math

WINDOWS = ["always", "paper", "official", "adaptive", "outside", "never"]
PER_MODALITY = ("trace", "change", "score", "gap", "alpha", "pull", "penalty")


def assert_finite(history, module=None, none_from=1):
    """Every number of the history; only the first period has no change."""
    for entry in history:
        for quantity in PER_MODALITY:
            for modality, value in entry[quantity].items():
                where = f"period {entry['period']}: {quantity} of {modality} is {value}"
                if quantity == "change" and entry["period"] < none_from:
                    assert value is None, where
                else:
                    assert math.isfinite(value), where
    if module is not None:
        assert all(p.isfinite().all() for p in module.parameters())
