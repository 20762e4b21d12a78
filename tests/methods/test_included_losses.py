"""What the module's loss has is looked at, where the user says that it has the unimodal losses."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.modules import CLASSES, Late, encoder_paths
from helpers.regulated import fit
from helpers.unimodal_losses import WithUnimodalLosses
from inforeg_lightning.callbacks import GBlendingCallback, MMParetoCallback

OWN = {"audio": "alone.audio", "video": "alone.video"}
SAID = "unimodal_losses_included=True says that the module's loss has"


class OwnHeads(Late):
    """Its loss has unimodal losses of heads of its own, made as a test says."""

    def __init__(self, of=("audio", "video"), weight=1.0, smoothing=0.0, classes=None, regular=0.0):
        super().__init__()
        self.of, self.regular, self.weight = of, regular, weight
        self.how = {"label_smoothing": smoothing, "weight": classes}
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.alone = nn.ModuleDict(
                {"audio": nn.Linear(5, CLASSES), "video": nn.Linear(4, CLASSES)}
            ).double()

    def training_step(self, batch, batch_idx):
        features = self.features(batch)
        joint = self.head(torch.cat([*features.values()], 1))
        own = [
            F.cross_entropy(self.alone[m](features[m]), batch["label"], **self.how) for m in self.of
        ]
        regular = sum(p.square().sum() for p in self.audio_encoder.parameters())
        loss = F.cross_entropy(joint, batch["label"], **self.how)
        return loss + self.weight * sum(own) + self.regular * regular


def train(module, heads, **settings):
    callback = MMParetoCallback(
        encoder_paths(), "head", unimodal_heads=heads, unimodal_losses_included=True
    )
    return fit(module, callback, max_epochs=1, **settings)


@pytest.mark.parametrize(
    ("module", "heads", "whose"),
    [
        (lambda: OwnHeads(), "shared", "the joint head makes of audio alone"),
        (lambda: Late(), "shared", "the joint head makes of audio alone"),
        (lambda: OwnHeads(of=("audio",)), OWN, "gives for video makes of video alone"),
        (lambda: OwnHeads(of=("video",), smoothing=0.3), OWN, "gives for audio"),
    ],
)
def test_losses_of_other_heads_than_it_is_said_are_refused(module, heads, whose):
    with pytest.raises(ValueError, match=f"{SAID}.*{whose}.*has no such loss"):
        train(module(), heads)


def test_another_weight_is_refused():
    with pytest.raises(ValueError, match=f"{SAID}.*it with weight 0.5 instead of 1"):
        train(OwnHeads(weight=0.5), OWN)


@pytest.mark.parametrize(
    ("module", "heads"),
    [
        (lambda: WithUnimodalLosses(), "shared"),
        (lambda: OwnHeads(), OWN),
        (lambda: OwnHeads(regular=0.1), OWN),
    ],
)
@pytest.mark.parametrize("settings", [{}, {"accumulate_grad_batches": 2}])
def test_what_is_as_it_is_said_is_let_through_in_silence(module, heads, settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        train(module(), heads, **settings)


@pytest.mark.parametrize("how", [{"smoothing": 0.1}, {"classes": [1.0, 5.0, 0.2]}])
def test_class_weights_and_label_smoothing_are_said_not_refused(how):
    if "classes" in how:
        how = {"classes": torch.tensor(how["classes"], dtype=torch.float64)}
    with pytest.warns(UserWarning, match="are not the mean cross-entropies with weight 1"):
        train(OwnHeads(**how), OWN)


def test_own_heads_are_in_no_loss_of_the_module():
    with pytest.raises(ValueError, match="cannot be of the heads that unimodal_heads='own' makes"):
        train(Late(), "own")


def blend(module, heads):
    callback = GBlendingCallback(
        encoder_paths(),
        "head",
        super_epoch=1,
        unimodal_heads=heads,
        unimodal_losses_included=True,
    )
    return fit(module, callback, max_epochs=2)


def test_gblending_looks_as_well():
    with pytest.raises(ValueError, match=f"{SAID}.*has no such loss.*GBlendingCallback"):
        blend(OwnHeads(), "shared")


@pytest.mark.parametrize(
    ("module", "heads"), [(WithUnimodalLosses, "shared"), (OwnHeads, OWN)], ids=["shared", "given"]
)
def test_gblending_lets_through_what_is_as_it_is_said(module, heads):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        blend(module(), heads)
