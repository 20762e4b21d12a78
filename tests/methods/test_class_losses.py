"""Class losses (G-Blending, DGL, MMPareto) of targets of other shapes, and what is refused."""

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.comparison import assert_close_weights
from helpers.modules import CLASSES, Late, encoder_paths, make_batches
from helpers.partly import KINDS, partly_batches
from helpers.trainers import quiet_trainer
from inforeg_lightning.callbacks import (
    AutoBalanceCallback,
    DGLCallback,
    GBlendingCallback,
    MMParetoCallback,
)

MADE = {
    "AutoBalance": (AutoBalanceCallback, {}),
    "DGL": (DGLCallback, {}),
    "GBlending": (GBlendingCallback, {"super_epoch": 1, "measure": "running"}),
    "MMPareto": (MMParetoCallback, {}),
}
each = pytest.mark.parametrize("method", MADE)
TOKENS = 4


class Validated(Late):
    """Its target and its loss are what a test says."""

    ignore_index = -100

    def target_of(self, batch):
        return batch["label"]

    def training_step(self, batch, batch_idx):
        logits, target = self(batch), self.target_of(batch)
        if target.shape == logits.shape:
            return F.cross_entropy(logits, target)
        return F.cross_entropy(
            logits.flatten(0, -2), target.flatten(), ignore_index=self.ignore_index
        )

    def forward(self, batch):
        return self.head(torch.cat([*self.features(batch).values()], dim=-1))

    def validation_step(self, batch, batch_idx):
        self(batch)

    def val_dataloader(self):
        own = torch.Generator()
        return torch.utils.data.DataLoader(self.batches[:2], batch_size=None, generator=own)


class Masked(Validated):
    def features(self, batch):
        found = {}
        for name, z in super().features(batch).items():
            rows = batch["present"][name].reshape(-1, *[1] * (z.dim() - 1))
            found[name] = torch.where(rows, z, 0.0)
        return found


def train(method, module, **settings):
    of, usual = MADE[method]
    callback = of(encoder_paths(), head="head", **usual | settings)
    quiet_trainer(max_epochs=3, callbacks=[callback]).fit(module)
    return module.epoch_weights, callback.history


def assert_same(ours, theirs):
    assert_close_weights(ours[0], theirs[0], atol=1e-12)
    for mine, reference in zip(ours[1], theirs[1], strict=True):
        for quantity in {*reference} - {"change", "unimodal_heads"}:
            assert mine[quantity] == pytest.approx(reference[quantity], rel=1e-9, abs=1e-12)


@each
def test_probabilities_that_are_one_hot_are_classes(method):
    class OneHot(Validated):
        def target_of(self, batch):
            return F.one_hot(batch["label"], CLASSES).double()

    module = OneHot()
    ours = train(method, module, target=module.target_of)
    assert_same(ours, train(method, Validated()))


@each
@pytest.mark.parametrize("ignored", [-1, 7])
def test_any_target_may_be_the_ignored_one(method, ignored):
    def batches(value):
        made = make_batches()
        for batch in made:
            batch["label"][::3] = value
        return made

    module = Validated(batches=batches(ignored))
    module.ignore_index = ignored
    ours = train(method, module, ignore_index=ignored)
    assert_same(ours, train(method, Validated(batches=batches(-100))))


@each
def test_tokens_are_samples_of_their_own(method):
    flat = partly_batches(KINDS[:3], size=2)
    for batch in flat:  # all tokens of a sample have what the sample has
        tokens = make_batches(batches=1, size=2 * TOKENS, seed=int(batch["label"].sum()))[0]
        masks = {n: m.repeat_interleave(TOKENS) for n, m in batch["present"].items()}
        batch |= tokens | {"present": masks}
    folded = [
        {name: x.unflatten(0, (2, TOKENS)) for name, x in batch.items() if name != "present"}
        | {"present": {n: m[::TOKENS] for n, m in batch["present"].items()}}
        for batch in flat
    ]
    ours = train(method, Masked(batches=folded), present="present")
    assert_same(ours, train(method, Masked(batches=flat), present="present"))


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
@each
def test_a_loss_of_nobody_is_no_term_also_of_probabilities(method):
    class Soft(Masked):
        def target_of(self, batch):
            return F.one_hot(batch["label"], CLASSES).double() * 0.8 + 0.2 / CLASSES

    module = Soft(batches=partly_batches(("whole", "audio", "video")))
    with torch.autograd.detect_anomaly(check_nan=True):
        weights, history = train(method, module, target=module.target_of, present="present")
    assert all(torch.isfinite(w).all() for w in weights[-1].values())
    assert all(math.isfinite(s) for entry in history for s in entry["score"].values())


@each
@pytest.mark.parametrize(
    ("target", "message"),
    [
        (lambda batch: batch["label"] + 10, "holds 1., but there are logits of 3 classes"),
        (lambda batch: batch["label"][:4], "integer .B,., .B, T, C. and .B, T."),
        (lambda batch: batch["label"].double(), "integer .B,., .B, T, C. and .B, T."),
    ],
    ids=["out of range", "of other samples", "floating"],
)
def test_a_wrong_target_is_one_clear_error(method, target, message):
    with pytest.raises(ValueError, match=message):
        train(method, Validated(), target=target)
