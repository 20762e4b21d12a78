import pytest
import torch
from torchmetrics.classification import MulticlassAccuracy

from inforeg_lightning.metrics import Imbalance, UnimodalAccuracy, imbalance

MODALITIES = ("audio", "video", "text")


def make_batches():
    generator = torch.Generator().manual_seed(0)
    for size in (7, 5, 1):
        target = torch.randint(4, (size,), generator=generator)
        logits = {m: torch.randn(size, 4, generator=generator) for m in MODALITIES}
        logits["video"][range(size), target] += 2.0
        yield logits, target


def test_each_accuracy_is_that_of_torchmetrics():
    ours, gap = UnimodalAccuracy(MODALITIES), Imbalance(MODALITIES)
    theirs = {m: MulticlassAccuracy(4, average="micro") for m in MODALITIES}
    for logits, target in make_batches():
        ours.update(logits, target)
        gap.update(dict(reversed(logits.items())), target)
        for modality, metric in theirs.items():
            metric.update(logits[modality], target)
    expected = {m: float(metric.compute()) for m, metric in theirs.items()}
    assert {m: float(x) for m, x in ours.compute().items()} == pytest.approx(expected)
    assert float(gap.compute()) == pytest.approx(imbalance(expected))
    assert imbalance(expected) == pytest.approx(max(expected.values()) - min(expected.values()))
    ours.reset()
    with pytest.warns(UserWarning, match="before the ``update``"):
        empty = ours.compute()
    assert all(x.isnan() for x in empty.values())


def test_targets_to_be_ignored_count_nowhere():
    logits = {m: torch.eye(4) for m in MODALITIES}
    logits["text"] = torch.eye(4).roll(1, 0)
    metric = UnimodalAccuracy(MODALITIES)
    metric.update(logits, torch.tensor([0, 1, -100, 0]))
    found = {m: float(x) for m, x in metric.compute().items()}
    assert found == pytest.approx({"audio": 2 / 3, "video": 2 / 3, "text": 0.0})


def test_by_hand():
    assert imbalance({"audio": 0.5, "video": 0.2, "text": 0.4}) == pytest.approx(0.3)
    assert imbalance({"audio": 0.5, "video": 0.5}) == 0.0


def test_states_add_up_over_processes():
    """As torchmetrics merges the states of two processes: by the sum."""
    parts, whole = [Imbalance(MODALITIES), Imbalance(MODALITIES)], Imbalance(MODALITIES)
    for index, (logits, target) in enumerate(make_batches()):
        parts[index % 2].update(logits, target)
        whole.update(logits, target)
    assert all(reduce is not None for reduce in whole._reductions.values())
    parts[0].correct += parts[1].correct
    parts[0].counted += parts[1].counted
    parts[0]._computed = None
    assert parts[0].compute() == whole.compute()


def test_fewer_than_two_and_others_are_refused():
    with pytest.raises(ValueError, match="two or more"):
        UnimodalAccuracy(["audio"])
    with pytest.raises(ValueError, match="two or more modalities, but holds"):
        imbalance({"audio": 0.1})
    with pytest.raises(
        ValueError, match=r"must be of \['audio', 'video'\], but are of \['audio'\]"
    ):
        UnimodalAccuracy(["audio", "video"]).update({"audio": torch.eye(2)}, torch.arange(2))
