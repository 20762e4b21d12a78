"""OPM through a Trainer against a plain loop of the authors' formulas, by the same draws."""

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.batch_norm import Normed, statistics
from helpers.comparison import assert_close_weights
from helpers.drawn import Given, hand_out
from helpers.modules import Late, encoder_paths, make_batches
from helpers.plain import EPOCHS, SETTINGS, true_probabilities, unimodal_logits
from helpers.reference import largest_difference, minimise
from helpers.regulated import fit
from inforeg_lightning.callbacks import OPMCallback


def opm(modalities=2, **settings):
    return OPMCallback(encoder_paths(modalities), head="head", **settings)


class Reference:
    """Drop probabilities, masks and scale, in plain numbers and sample by sample."""

    def __init__(self, module, given, window, q_base, lam, p_exe):
        self.module, self.given, self.window = module, given, window
        self.q_base, self.lam, self.p_exe = q_base, lam, p_exe
        self.used = []

    def probability(self, scores, name):
        others = [float(s) for other, s in scores.items() if other != name]
        ratio = float(scores[name]) / (sum(others) / len(others))
        lead = math.tanh(max(ratio - 1, 0.0))
        return min(self.q_base * (1 + self.lam * lead), 1.0) if lead > 0 else 0.0

    def loss(self, epoch, features, label):
        acting = [m for m in features if epoch in self.window[m]]
        q = dict.fromkeys(features, 0.0)
        if acting:
            scores = true_probabilities(unimodal_logits(self.module, features), label)
            if float(self.given(1)) < self.p_exe:
                q |= {m: self.probability(scores, m) for m in acting}
            drawn = self.given(len(label), len(features))
            widths = {m: z.shape[1] for m, z in features.items()}
            theta = sum(widths[m] * q[m] for m in features) / sum(widths.values())
            features = {
                m: torch.stack(
                    [0 * row if u < q[m] else row for row, u in zip(z, drawn[:, i], strict=True)]
                )
                / (1 - theta)
                for i, (m, z) in enumerate(features.items())
            }
        self.used.append((epoch, q))
        return F.cross_entropy(self.module.head(torch.cat([*features.values()], 1)), label)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("kind", [Late, Normed])
def test_every_weight_of_every_epoch_is_that_of_the_formulas(kind, modalities, monkeypatch):
    given = Given()
    hand_out(monkeypatch, given)
    batches = make_batches(modalities)
    # Open for all, then for the second alone, then for none, then for all.
    window = dict.fromkeys(encoder_paths(modalities), (0, 1, 4, 5)) | {"video": (0, 1, 2, 4, 5)}
    settings = {"q_base": 0.6, "lam": 0.9, "p_exe": 0.8}
    reference = Reference(kind(modalities, batches, **SETTINGS), given, window, **settings)
    theirs = minimise(reference.module, reference.loss)
    given.rewind()
    callback = opm(
        modalities,
        window=lambda traces: {m: len(traces[m]) in window[m] for m in traces},
        **settings,
    )
    module = fit(kind(modalities, batches, **SETTINGS), callback, max_epochs=EPOCHS)["module"]
    assert_close_weights(module.epoch_weights, theirs)
    torch.testing.assert_close(statistics(module), statistics(reference.module), rtol=0, atol=1e-10)
    applied = [q for _, used in reference.used for q in used.values()]
    assert 0 in applied
    assert any(0.6 < q < 1 for q in applied)
    for epoch, entry in enumerate(callback.history):
        for name in module.names:
            steps = [used[name] for e, used in reference.used if e == epoch]
            assert entry["probability"][name] == pytest.approx(sum(steps) / len(steps))


def test_by_default_it_begins_after_six_epochs():
    history = fit(Late(), opm(p_exe=1.0), max_epochs=8)["history"]
    acting = [sum(entry["probability"].values()) > 0 for entry in history]
    assert acting == [False] * 6 + [True] * 2


def test_the_comparison_can_fail():
    batches = make_batches()
    ours = fit(Late(2, batches, **SETTINGS), opm(window="always"), max_epochs=EPOCHS)["weights"]
    plain = fit(Late(2, batches, **SETTINGS), None, max_epochs=EPOCHS)["weights"]
    assert largest_difference(ours[-1], plain[-1]) > 1e-3
