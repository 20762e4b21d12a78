"""Ensembles of kept predictions: what is summed, what is fitted, and what is refused."""

import numpy as np
import pytest
from scipy.special import log_softmax

from inforeg_lightning.report import FolderError, Run
from inforeg_lightning.report.folder import Predictions, write_predictions
from running.ensembles import ensemble, fit, measured

KEYS = [(checkpoint, split) for checkpoint in ("last", "best") for split in ("val", "test")]


def drawn(seed, label, certainty):
    """Log-probabilities that lean to the true class by a number of nats."""
    logits = np.random.default_rng(seed).normal(size=(len(label), 3))
    logits[np.arange(len(label)), label] += certainty
    return log_softmax(logits, axis=1)


@pytest.fixture
def member(tmp_path):
    def make(modality, certainty, label=None):
        rows = np.arange(60) % 3 if label is None else label
        folder = tmp_path / modality
        folder.mkdir()
        values = {key: drawn(len(modality) + i, rows, certainty) for i, key in enumerate(KEYS)}
        write_predictions(folder, Predictions(values, {"val": rows, "test": rows}))
        part = {"val": {"accuracy": 0.5}, "test": {"accuracy": 0.4}, "probe": {modality: 0.6}}
        result = {
            "experiment": "toy",
            "variant": "lr=1",
            "seed": 2,
            "modalities": [modality],
            "epochs": 3,
        }
        return Run(folder, result | {"last": part, "best": part})

    return make


def test_the_plain_ensemble_sums_log_probabilities():
    label = np.array([0, 1])
    first = np.log([[[0.6, 0.4], [0.6, 0.4]], [[0.3, 0.7], [0.1, 0.9]]])
    found = measured(np.ones(2), first, label)
    # Sample 0: 0.18 against 0.28, class 1 and wrong; sample 1: 0.06 against 0.36.
    assert found["accuracy"] == 0.5
    assert found["loss"] == pytest.approx(-(np.log(0.18 / 0.46) + np.log(0.36 / 0.42)) / 2)


def test_the_fitted_factors_are_a_minimum_and_leave_out_a_member_that_knows_nothing():
    label = np.arange(300) % 3
    values = np.stack([drawn(0, label, 2.0), drawn(1, label[::-1].copy(), 2.0)])
    factors = fit(values, label)
    least = measured(factors, values, label)["loss"]
    assert factors[1] < 0.1 < factors[0]
    for step in ([0.05, 0.0], [-0.05, 0.0], [0.0, 0.05]):
        assert measured(factors + step, values, label)["loss"] > least


def test_a_member_that_is_too_sure_gets_a_smaller_factor():
    label = np.arange(300) % 3
    values = np.stack([drawn(0, label, 1.0), log_softmax(10 * drawn(1, label, 1.0), axis=1)])
    first, second = fit(values, label)
    assert second == pytest.approx(first / 10, rel=0.5)


def test_an_ensemble_is_a_run_with_its_members_heads_and_probes(member):
    run = ensemble([member("audio", 1.0), member("image", 2.0)], fitted=False)
    assert (run.seed, run.modalities, run.result["title"]) == (2, ("audio", "image"), "Ensemble")
    assert run.group == ("ensemble", "lr=1")
    assert run.value("last", "accuracy_audio") == 0.4
    assert run.value("last", "probe_image") == 0.6
    assert run.result["last"]["factors"] == {"audio": 1.0, "image": 1.0}
    assert run.value("last", "accuracy") > 0.6


def test_what_is_fitted_is_fitted_on_validation(member):
    members = [member("audio", 1.0), member("image", 2.0)]
    plain, fitted = (ensemble(members, fitted=f).result["last"] for f in (False, True))
    assert fitted["val"]["loss"] < plain["val"]["loss"]
    assert fitted["factors"] != plain["factors"]


def test_members_must_have_predicted_the_same_samples(member):
    others = [member("audio", 1.0), member("image", 1.0, label=np.zeros(60, int))]
    with pytest.raises(FolderError, match="it predicts other samples than"):
        ensemble(others, fitted=False)
