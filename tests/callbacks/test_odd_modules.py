"""Modules that are odd but legitimate: heads, batches and passes as users write them."""

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch.tuner import Tuner
from torch import nn
from torch.utils.checkpoint import checkpoint

from helpers.modules import (
    CLASSES,
    Late,
    assert_same_weights,
    encoder_paths,
    make_batches,
)
from helpers.regulated import always, fit
from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback, report_unimodal
from inforeg_lightning.core.scores import linear_unimodal_logits


def mean_log_p(logits, label):
    return float(-F.cross_entropy(logits.detach(), label))


class Tokens(Late):
    """A sequence head over tokens of both modalities, whose number differs by batch."""

    class Head(nn.Linear):
        def forward(self, tokens):
            return super().forward(tokens.tanh().sum(1))

    def make_head(self, width):
        return self.Head(4, CLASSES)

    def tokens(self, batch, batch_idx):
        features = self.features(batch)
        audio = features["audio"][:, None, :4].expand(-1, 1 + 8 * (batch_idx % 2), -1)
        return {"audio": audio, "video": features["video"][:, None]}

    def training_step(self, batch, batch_idx):
        tokens = self.tokens(batch, batch_idx)
        return F.cross_entropy(self.head(torch.cat([*tokens.values()], 1)), batch["label"])


@pytest.mark.parametrize("first", [0, 1])
def test_token_sequences_that_differ_in_length_by_batch(first):
    batches = make_batches(batches=2)
    module = Tokens(batches=batches, lr=0.0)
    if first:
        step = module.training_step
        module.training_step = lambda batch, batch_idx: step(batch, batch_idx + 1)
    callback = always()
    fit(module, callback, max_epochs=1)
    expected = {}
    for name in ("audio", "video"):
        scores = []
        for index, batch in enumerate(batches):
            tokens = module.tokens(batch, index + first)
            other = {n: t if n == name else torch.zeros_like(t) for n, t in tokens.items()}
            scores.append(mean_log_p(module.head(torch.cat([*other.values()], 1)), batch["label"]))
        expected[name] = sum(scores) / 2
    assert callback.history[0]["score"] == pytest.approx(expected)


def test_a_linear_head_with_a_forward_of_its_own_is_run_and_not_split():
    class Cosine(nn.Linear):
        def forward(self, z):
            return 8 * F.normalize(z, dim=1) @ F.normalize(self.weight, dim=1).T

    class Module(Late):
        def make_head(self, width):
            return Cosine(width, CLASSES)

    (batch,) = batches = make_batches(batches=1)
    module, callback = Module(batches=batches, lr=0.0), always()
    fit(module, callback, max_epochs=1)
    features = module.features(batch)
    for name in features:
        only = [z if n == name else torch.zeros_like(z) for n, z in features.items()]
        score = mean_log_p(module.head(torch.cat(only, 1)), batch["label"])
        assert callback.history[0]["score"][name] == pytest.approx(score)


@pytest.mark.filterwarnings(
    # Dynamo itself looks at the .grad of the head's input.
    "ignore:The .grad attribute of a Tensor that is not a leaf Tensor:UserWarning"
)
def test_a_compiled_linear_head_shares_its_bias():
    module, expected = Late(), Late()
    for late in (module, expected):
        late.head.bias.data = torch.tensor([3.0, -3.0, 0.0], dtype=torch.float64)
    module.head = torch.compile(module.head, backend="eager")
    ours, theirs = always(), always()
    fit(module, ours, max_epochs=2), fit(expected, theirs, max_epochs=2)
    assert ours.history == theirs.history


@pytest.mark.parametrize("score", ["log_prob", "prob"])
def test_ignored_targets_do_not_dilute_the_score(score):
    ignored, kept = make_batches(batches=1), make_batches(batches=1)
    ignored[0]["label"] = ignored[0]["label"].clone()
    ignored[0]["label"][2:] = -100
    kept = [{key: value[:2] for key, value in kept[0].items()}]
    ours, theirs = always(score=score), always(score=score)
    (
        fit(Late(batches=ignored, lr=0.0), ours, max_epochs=2),
        fit(Late(batches=kept, lr=0.0), theirs, max_epochs=2),
    )
    for quantity in ("score", "gap"):
        assert ours.history[0][quantity] == pytest.approx(theirs.history[0][quantity])


def test_targets_of_another_integer_type():
    batches = [b | {"label": b["label"].int()} for b in make_batches()]

    class Module(Late):
        def training_step(self, batch, batch_idx):
            return F.cross_entropy(self(batch), batch["label"].long())

    ours, theirs = always(), always()
    fit(Module(batches=batches), ours, max_epochs=2), fit(Late(), theirs, max_epochs=2)
    assert ours.history == theirs.history


@dataclass
class DataBatch:
    audio: torch.Tensor
    video: torch.Tensor
    label: torch.Tensor


class NamedBatch(NamedTuple):
    label: torch.Tensor
    audio: torch.Tensor
    video: torch.Tensor


@pytest.mark.parametrize("kind", [DataBatch, NamedBatch])
def test_targets_that_are_attributes(kind):
    class Module(Late):
        def training_step(self, batch, batch_idx):
            as_dict = {n: getattr(batch, n) for n in ("audio", "video", "label")}
            return super().training_step(as_dict, batch_idx)

    batches = [kind(**batch) for batch in make_batches()]
    ours, theirs = always(target="label"), always()
    loader = torch.utils.data.DataLoader(batches, batch_size=None, collate_fn=lambda batch: batch)
    quiet_trainer(callbacks=[ours], max_epochs=2).fit(Module(), loader)
    fit(Late(), theirs, max_epochs=2)
    assert ours.history == theirs.history


@pytest.mark.parametrize("reentrant", [True, False])
def test_activation_checkpointing(reentrant):
    class Module(Late):
        def features(self, batch):
            run = {"use_reentrant": reentrant}
            found = {}
            for name in self.names:
                x = batch[name].clone().requires_grad_()  # reentrant checkpoints ask for it
                found[name] = checkpoint(getattr(self, f"{name}_encoder"), x, **run)
            return found

    ours, theirs = always(), always()
    assert_same_weights(
        fit(Module(), ours, max_epochs=2)["weights"][-1],
        fit(Late(), theirs, max_epochs=2)["weights"][-1],
    )
    assert ours.history == theirs.history


def test_a_head_under_reentrant_checkpointing():
    class Module(Late):
        def forward(self, batch):
            features = torch.cat([*self.features(batch).values()], dim=1)
            return checkpoint(self.head, features, use_reentrant=True)

    ours, theirs = always(), always()
    assert_same_weights(
        fit(Module(), ours, max_epochs=2)["weights"][-1],
        fit(Late(), theirs, max_epochs=2)["weights"][-1],
    )
    assert ours.history == theirs.history


def test_reports_of_several_passes_add_up():
    class Module(Late):
        def training_step(self, batch, batch_idx):
            for part in (slice(0, 3), slice(3, None)):
                piece = {key: value[part] for key, value in batch.items()}
                features = self.features(piece)
                logits = linear_unimodal_logits(self.head.weight, self.head.bias, features)
                report_unimodal(self, logits, piece["label"])
            return super().training_step(batch, batch_idx)

    ours, theirs = InfoRegCallback(encoder_paths(), window="always"), always()
    fit(Module(), ours, max_epochs=2), fit(Late(), theirs, max_epochs=2)
    for ours_entry, theirs_entry in zip(ours.history, theirs.history, strict=True):
        assert ours_entry["gap"] == pytest.approx(theirs_entry["gap"])


def test_lbfgs_regulates_every_closure():
    class Newton(Late):
        def configure_optimizers(self):
            return torch.optim.LBFGS(self.parameters(), lr=0.1, max_iter=3)

    callback = always()
    fit(Newton(batches=make_batches(batches=2)), callback, max_epochs=2)
    assert all(entry["steps"] > 2 for entry in callback.history)
    assert callback.history[-1]["alpha"]["audio"] >= 1


@pytest.mark.filterwarnings("ignore:The `lr` property")
def test_a_search_for_the_learning_rate_leaves_no_history(tmp_path):
    class Tuned(Late):
        def __init__(self):
            super().__init__()
            self.lr = 0.1

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), **self.sgd | {"lr": self.lr})

    ours, theirs, module = always(), always(), Tuned()
    trainer = quiet_trainer(tmp_path, callbacks=[ours], max_epochs=2, enable_checkpointing=True)
    Tuner(trainer).lr_find(module, num_training=4, update_attr=False)
    trainer.fit(module)
    fit(Late(), theirs, max_epochs=2)
    assert ours.history == theirs.history
