"""K-means by scikit-learn, which nothing but a method that clusters features needs."""

import importlib.util
import warnings

import torch
from torch import Tensor


def check_clustering(method: str) -> None:
    """Refuse to begin a training that would end for want of scikit-learn.

    Args:
        method: For the error.

    Raises:
        ImportError: It is not installed.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise ImportError(
            f"{method} clusters features with scikit-learn, which is not installed: "
            "pip install 'inforeg-lightning[relearning]'"
        )


def cluster(features: Tensor, clusters: int) -> Tensor:
    """K-means of features, each dimension scaled to [-1, 1] first.

    Ten starts, which was the default of scikit-learn when Diagnosing & Re-learning, whose this is,
    was written: one, the default since 1.4, depends more on chance.

    Args:
        features: Shape ``(N, D)``, finite, with N at least ``clusters``; read on the host.
        clusters: How many.

    Returns:
        Cluster of each sample, shape ``(N,)``, on the CPU. The same features in the same order have
        the same clusters.
    """
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.preprocessing import MinMaxScaler

    scaled = MinMaxScaler(feature_range=(-1, 1)).fit_transform(features.cpu().numpy())
    with warnings.catch_warnings():
        # Features that are all alike, as of a dead encoder, are fewer clusters: no error.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = KMeans(n_clusters=clusters, n_init=10, random_state=0).fit_predict(scaled)
    return torch.as_tensor(found, dtype=torch.long)
