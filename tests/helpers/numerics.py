"""Callbacks of every kind, and what a history of theirs must always be."""

import math

from helpers.modules import encoder_paths
from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback

WINDOWS = ["always", "paper", "official", "adaptive", "outside", "never"]
PER_MODALITY = ("trace", "change", "score", "gap", "alpha", "pull", "penalty")


def regulated(modalities=2, **settings):
    return InfoRegCallback(
        encoder_paths(modalities), head="head", **{"window": "always"} | settings
    )


def official(modalities=2):
    strength = dict(zip(encoder_paths(modalities), (0.9, 0.5, 0.1), strict=False))
    return InfoRegCallback.official(encoder_paths(modalities), head="head", strength=strength)


def fit(module, callback, epochs=4, **settings):
    callbacks = [] if callback is None else [callback]
    quiet_trainer(max_epochs=epochs, callbacks=callbacks, **settings).fit(module)
    return module


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
