"""Running means of features that some processes, or some samples, do not have."""

import threading

import pytest
import torch

from inforeg_lightning.engine.distributed import Processes
from inforeg_lightning.methods._running_mean import RunningMeans

MODALITIES = ("audio", "video")
YES, NO = torch.tensor(True), torch.tensor(False)


class Two(Processes):
    """Two threads that add up what both hold."""

    size = 2

    def __init__(self):
        self.barrier = threading.Barrier(2, timeout=20)
        self.held = {}

    def sum(self, tensor):
        self.held[threading.get_ident()] = tensor
        self.barrier.wait()
        first, second = self.held.values()
        assert first.shape == second.shape
        assert first.dtype == second.dtype
        total = first + second
        self.barrier.wait()
        return total


def drawn(*shape, seed):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_of_samples_that_have_it():
    means, mask = RunningMeans(), torch.tensor([True, False, True])
    audio, video = drawn(3, 4, seed=0), drawn(3, 2, 5, seed=1)
    assert means.of({"audio": [audio]}) == {}
    means.add({"audio": [audio], "video": [video, video[:, 0]]}, {"video": mask})
    means.add({"audio": [audio + 1]}, {})
    means.fold(MODALITIES, Processes(), YES)
    means.add({"audio": [audio]}, {})
    means.fold(MODALITIES, Processes(), NO)
    found = means.of({"audio": [audio], "video": [video, video[:, 0]]})
    torch.testing.assert_close(found["audio"][0], audio.mean(0) + 0.5)
    torch.testing.assert_close(found["video"][0], video[mask].mean(0))
    torch.testing.assert_close(found["video"][1], video[mask, 0].mean(0))


def test_a_modality_that_no_sample_had_has_none():
    means = RunningMeans()
    means.add({"audio": [drawn(3, 4, seed=0)]}, {"audio": torch.zeros(3, dtype=torch.bool)})
    means.fold(MODALITIES, Processes(), YES)
    assert not means.of({"audio": [drawn(3, 4, seed=0)]})["audio"][0].isfinite().any()


@pytest.mark.parametrize("resumed", [False, True])
def test_processes_need_not_have_seen_the_same(resumed):
    audio, video = drawn(6, 4, seed=0), drawn(6, 5, seed=1).float()
    batches = [  # of each step, what either process has
        ({"audio": [audio[:2]]}, {"audio": [audio[2:3]]}),
        ({"audio": [audio[3:4]]}, {"video": [video[:4]]}),
        ({}, {"audio": [audio[4:]]}),
        ({"video": [video[4:]]}, {}),
    ]
    processes, found = Two(), {}

    def run(rank):
        means = RunningMeans()
        for step in batches:
            means.add(step[rank], {})
            means.fold(MODALITIES, processes, YES)
            if resumed:
                state, means = means.state_dict(), RunningMeans()
                means.load_state_dict(state)
        found[rank] = means.of({"audio": [audio], "video": [video]})

    threads = [threading.Thread(target=run, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rank in (0, 1):
        torch.testing.assert_close(found[rank]["audio"][0], audio.mean(0))
        torch.testing.assert_close(found[rank]["video"][0], video.double().mean(0))


def test_features_of_another_shape_are_refused():
    means = RunningMeans()
    means.add({"audio": [drawn(3, 4, seed=0)]}, {})
    with pytest.raises(ValueError, match=r"features of audio have shape \[\(5,\)\] per sample"):
        means.add({"audio": [drawn(3, 5, seed=0)]}, {})
