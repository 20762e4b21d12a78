"""Modality dropout through a Trainer against plain loops, with the same numbers drawn."""

import pytest
import torch
import torch.nn.functional as F

from helpers.batch_norm import Normed, statistics
from helpers.comparison import assert_close_weights
from helpers.drawn import Given, hand_out
from helpers.modules import Late, encoder_paths, make_batches
from helpers.plain import EPOCHS, SETTINGS
from helpers.reference import largest_difference, minimise
from helpers.regulated import fit
from inforeg_lightning.callbacks import ModalityDropoutCallback


def dropout(modalities=2, **settings):
    return ModalityDropoutCallback(encoder_paths(modalities), head="head", **settings)


def lost(u, p):
    """Whose part of the unit interval a number lies in."""
    for name, width in p.items():
        if u < width:
            return name
        u -= width
    return None


def loop(module, given, p, window, per_step=False):
    def loss(epoch, features, label):
        acting = [m for m in features if epoch in window[m]]
        if acting:
            drawn = given(1) if per_step else given(len(label), 1)[:, 0]
            losses = [lost(float(u), p) for u in drawn] * (len(label) if per_step else 1)
            features = {
                m: torch.stack(
                    [
                        0 * z if m in acting and m == it else z
                        for z, it in zip(of, losses, strict=True)
                    ]
                )
                for m, of in features.items()
            }
        return F.cross_entropy(module.head(torch.cat([*features.values()], 1)), label)

    return minimise(module, loss)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("kind", [Late, Normed])
def test_every_weight_of_every_epoch_is_that_of_the_loop(kind, modalities, monkeypatch):
    given = Given()
    hand_out(monkeypatch, given)
    batches = make_batches(modalities)
    window = dict.fromkeys(encoder_paths(modalities), (0, 1, 4, 5)) | {"video": (0, 1, 2, 4, 5)}
    p = dict.fromkeys(encoder_paths(modalities), 0.6 / modalities)
    reference = kind(modalities, batches, **SETTINGS)
    theirs = loop(reference, given, p, window)
    given.rewind()
    callback = dropout(
        modalities,
        p=0.6,
        window=lambda traces: {m: len(traces[m]) in window[m] for m in traces},
    )
    module = fit(kind(modalities, batches, **SETTINGS), callback, max_epochs=EPOCHS)["module"]
    assert_close_weights(module.epoch_weights, theirs)
    torch.testing.assert_close(statistics(module), statistics(reference), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("p", "per"), [({"audio": 0.8}, "sample"), (0.5, "step")])
def test_the_published_variants(p, per, monkeypatch):
    """DropPathway loses audio only; AV-HuBERT draws once for a batch, and halves a half."""
    given = Given(seed=1)
    hand_out(monkeypatch, given)
    by_modality = p if isinstance(p, dict) else {"audio": 0.25, "video": 0.25}
    always = dict.fromkeys(encoder_paths(), range(EPOCHS))
    reference = Late(2, make_batches(), **SETTINGS)
    theirs = loop(reference, given, by_modality, always, per_step=per == "step")
    given.rewind()
    ours = fit(Late(2, make_batches(), **SETTINGS), dropout(p=p, per=per), max_epochs=EPOCHS)
    assert_close_weights(ours["weights"], theirs)


def test_the_comparison_can_fail():
    ours = fit(Late(2, make_batches(), **SETTINGS), dropout(), max_epochs=EPOCHS)["weights"]
    plain = fit(Late(2, make_batches(), **SETTINGS), None, max_epochs=EPOCHS)["weights"]
    assert largest_difference(ours[-1], plain[-1]) > 1e-3
