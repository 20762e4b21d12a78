"""Linear probes: what a new linear model reads from the features of one frozen encoder.

The fused head's share for a modality shows what the head uses; a probe shows what the encoder
knows. The share exaggerates suppression: where it is right at 15 %, a probe may be at 92 %.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import jaccard_score
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from inforeg_lightning.models.tasks import IGNORED

Array = NDArray[Any]

_MOST_ROWS = 20_000
"""Of tokens and pixels, spread evenly: a probe needs no more."""


def linear_probe(task: str, train: tuple[Array, Array], test: tuple[Array, Array]) -> float:
    """The test value, in the metric of the task, of a linear model on training features.

    It is a logistic regression (for several labels one each), or for numbers and for classes in
    order a ridge regression.

    Args:
        task: The task, by its name.
        train: Features ``(N, D)``, of tokens ``(N, T, D)`` and of pixels ``(N, D, H, W)``; and the
            labels, as the task has them.
        test: The same.
    """
    (features, label), (unseen, truth) = (_rows(task, *of) for of in (train, test))
    # One thread: runs beside each other would fight for cores, and sums keep their order.
    with threadpool_limits(1):
        probe = make_pipeline(StandardScaler(), _model(task))
        probe.fit(features, label)
        found = probe.predict(unseen)
    if task == "pixels":
        return float(jaccard_score(truth, found, average="macro", zero_division=0))
    if task == "regression":
        return float(np.abs(found - truth).mean())
    if task == "ordinal":
        whole = np.clip(np.rint(found), label.min(), label.max())
        return float(np.abs(whole - truth).mean())
    return float((found == truth).mean())


def _model(task: str) -> Any:
    if task in ("regression", "ordinal"):
        return Ridge()
    logistic = LogisticRegression(max_iter=5000)
    return OneVsRestClassifier(logistic) if task == "multilabel" else logistic


def _rows(task: str, features: Array, label: Array) -> tuple[Array, Array]:
    if task not in ("tokens", "pixels"):
        return features, label
    places = np.moveaxis(features, 1 if task == "pixels" else -1, -1)
    rows, labels = places.reshape(-1, places.shape[-1]), label.reshape(-1)
    counted = np.flatnonzero(labels != IGNORED)
    some = counted[np.linspace(0, len(counted) - 1, min(len(counted), _MOST_ROWS)).astype(int)]
    return rows[some], labels[some]
