"""Predictions that a run keeps: read as they were written, or refused with a reason."""

import numpy as np
import pytest

from inforeg_lightning.report import FolderError
from inforeg_lightning.report.folder import Predictions, read_predictions, write_predictions

KEYS = [(checkpoint, split) for checkpoint in ("last", "best") for split in ("val", "test")]
SIZES = {"val": 4, "test": 6}


def predictions():
    rng = np.random.default_rng(0)
    values = {key: np.log(rng.dirichlet(np.ones(3), SIZES[key[1]])) for key in KEYS}
    return Predictions(values, {split: np.arange(n) % 3 for split, n in SIZES.items()})


def test_they_are_read_as_they_were_written(tmp_path):
    write_predictions(tmp_path, predictions())
    found, expected = read_predictions(tmp_path), predictions()
    for key in KEYS:
        assert np.allclose(found.log_probabilities[key], expected.log_probabilities[key])
    assert all((found.label[split] == expected.label[split]).all() for split in SIZES)


def test_a_run_without_is_told_how_to_have_them(tmp_path):
    with pytest.raises(FolderError, match=r"it has no predictions.npz; train it anew"):
        read_predictions(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("last_val", np.zeros((3, 3)), "last_val does not go with its labels"),
        ("last_val", np.full((4, 3), np.nan), "last_val does not go with its labels"),
        ("best_test", np.zeros((6, 3), int), "best_test does not go with its labels"),
        ("label_val", np.array([0, 1, 2, 3]), "label_val is not of 3 classes"),
        ("label_test", np.array([-1, 1, 2, 0, 1, 2]), "label_test is not of 3 classes"),
        ("last_val", None, "cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, name, array, message):
    write_predictions(tmp_path, predictions())
    file = tmp_path / "predictions.npz"
    with np.load(file) as kept:
        arrays = dict(kept)
    del arrays[name]
    np.savez(file, **arrays, **({} if array is None else {name: array}))
    with pytest.raises(FolderError, match=message):
        read_predictions(tmp_path)
