"""Evaluation under every subset of modalities: what is computed, and what it leaves alone."""

import pytest
import torch
from torch import nn
from torchmetrics import MeanSquaredError
from torchmetrics.classification import MulticlassF1Score

from helpers.diagnosed import ENCODERS, Tiny, loaders
from inforeg_lightning.diagnosis import (
    DiagnosisError,
    Subsets,
    compare_subsets,
    evaluate_subsets,
)


@pytest.fixture
def module():
    torch.manual_seed(0)
    return Tiny()


class NotLinear(Tiny):
    """With dropout, which must not run, and a head that cannot be split."""

    def __init__(self):
        super().__init__()
        self.head = nn.Sequential(nn.Linear(8, 6), nn.Dropout(0.9), nn.ReLU(), nn.Linear(6, 3))


def by_hand(module, kept):
    """Hits with the features of what is not kept at zero."""
    hits = []
    for batch in loaders()[2]:
        z = [torch.tanh(getattr(module, ENCODERS[m])(batch[m])) * (m in kept) for m in ENCODERS]
        hits.append(module.head(torch.cat(z, dim=1)).argmax(1) == batch["label"])
    return torch.cat(hits)


@pytest.mark.parametrize("make", [Tiny, NotLinear])
def test_other_features_are_zero_before_the_head(make):
    torch.manual_seed(0)
    module = make().train()
    found = evaluate_subsets(module, ENCODERS, "head", loaders()[2])
    assert module.training
    module.eval()
    assert [*found.hits] == [("a", "b"), ("a",), ("b",), ()]
    assert found.samples == 30
    for kept, hits in found.hits.items():
        assert hits.tolist() == by_hand(module, kept).tolist()
        assert found.values[kept].value == pytest.approx(hits.mean())
    assert len({tuple(hits) for hits in found.hits.values()}) > 1


def test_nothing_is_changed_or_left(module):
    before = {name: x.clone() for name, x in module.state_dict().items()}
    evaluate_subsets(module, ENCODERS, "head", loaders()[2])
    assert all(torch.equal(x, before[name]) for name, x in module.state_dict().items())
    assert all("forward" not in vars(part) for part in module.modules())
    assert not any(part._forward_hooks for part in module.modules())
    assert "log" not in vars(module)


def test_the_interval_of_an_accuracy_is_wilsons(module):
    found = evaluate_subsets(module, ENCODERS, "head", loaders()[2])
    n, z2 = found.samples, 1.959964**2
    for of in found.values.values():
        middle = (of.value + z2 / (2 * n)) / (1 + z2 / n)
        half = (z2 * (of.value * (1 - of.value) / n + z2 / (4 * n * n))) ** 0.5 / (1 + z2 / n)
        assert (of.low, of.high) == pytest.approx((middle - half, middle + half))


def test_any_metric_of_outputs_and_targets(module):
    metric = MulticlassF1Score(num_classes=3)
    found = evaluate_subsets(module, ENCODERS, "head", loaders()[2], metric=metric)
    batches = [*loaders()[2]]
    metric.update(module(batches[0]), batches[0]["label"])
    metric.update(module(batches[1]), batches[1]["label"])
    whole = found.values["a", "b"]
    assert whole.value == pytest.approx(float(metric.compute()))
    assert whole.low < whole.value < whole.high
    assert found.hits == {}
    assert "MulticlassF1Score, 30 samples" in str(found)


def test_a_regression_of_a_plain_torch_module():
    torch.manual_seed(0)
    model = nn.ModuleDict({m: nn.Linear(2, 2) for m in "xy"} | {"head": nn.Linear(4, 1)})
    batch = {m: torch.randn(20, 2, generator=torch.Generator().manual_seed(3)) for m in "xy"}
    batch["label"] = torch.ones(20, 1)

    def step(batch):
        return model["head"](torch.cat([model[m](batch[m]) for m in "xy"], dim=1))

    found = evaluate_subsets(
        model, {"x": "x", "y": "y"}, "head", [batch], metric=MeanSquaredError(), step=step
    )
    model.requires_grad_(False)
    empty = float((model["head"].bias - 1) ** 2)
    assert found.values[()].value == pytest.approx(empty)
    assert found.values["x", "y"].value == pytest.approx(float(((step(batch) - 1) ** 2).mean()))


def test_chosen_subsets_and_the_table(module):
    found = evaluate_subsets(module, ENCODERS, "head", loaders()[2], subsets=[["b"], ["b", "a"]])
    assert [*found.values] == [("b",), ("a", "b")]
    lines = str(found).splitlines()
    assert lines[0] == "accuracy in %, 30 samples, 95 % interval over samples"
    assert lines[1].split()[0] == "b"
    assert float(lines[2].split()[3]) == pytest.approx(100 * found.values["a", "b"].value, abs=0.05)
    assert found.to_dict()["values"]["b"]["value"] == pytest.approx(
        found.values["b",].value, abs=1e-5
    )


def test_methods_are_compared_over_seeds(module):
    runs = [evaluate_subsets(m, ENCODERS, "head", loaders()[2]) for m in (module, Tiny(), Tiny())]
    head, one, other = compare_subsets({"joint": runs[:2], "dropout": runs[2:]}).splitlines()
    assert head.split() == ["method", "seeds", "a", "+", "b", "a", "b", "none"]
    assert one.split()[:2] == ["joint", "2"]
    assert other.split()[:2] == ["dropout", "1"]
    mean = 50 * sum(run.values["a", "b"].value for run in runs[:2])
    assert float(one.split()[2]) == pytest.approx(mean, abs=0.05)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"subsets": [["c"]]}, "`subsets` has 'c', but each must be a list of a, b"),
        ({"subsets": ["a"]}, "`subsets` has 'a', but each must be a list"),
        ({"loader": []}, "`loader` is empty"),
        ({"head": "encoder_c"}, "head"),
        ({"encoders": {f"m{i}": "encoder_a" for i in range(9)}}, "512 subsets"),
        ({"target": lambda batch: batch["a"]}, r"accuracy needs logits \(B, C\) and class"),
    ],
)
def test_what_cannot_be_evaluated_is_one_sentence(module, changes, said):
    given = {"encoders": ENCODERS, "head": "head", "loader": loaders()[2]} | changes
    with pytest.raises((DiagnosisError, ValueError), match=said):
        evaluate_subsets(module, **given)


def test_an_encoder_that_is_not_called_is_said(module):
    module.unused = nn.Linear(2, 2)
    with pytest.raises(DiagnosisError, match=r"encoders\['b'\] is not called"):
        evaluate_subsets(module, ENCODERS | {"b": "unused"}, "head", loaders()[2])


def test_runs_of_other_samples_are_not_compared():
    none = Subsets("accuracy", {}, 3, {})
    with pytest.raises(DiagnosisError, match="the same subsets and samples"):
        compare_subsets({"a": [none], "b": [Subsets("accuracy", {}, 4, {})]})
    with pytest.raises(DiagnosisError, match="one or more"):
        compare_subsets({})
