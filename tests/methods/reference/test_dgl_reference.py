"""DGL through a Trainer against plain loops of the paper's objective and of the authors' steps."""

import pytest
import torch
import torch.nn.functional as F

from helpers.batch_norm import Normed, statistics
from helpers.comparison import assert_close_weights
from helpers.modules import Late, encoder_paths, make_batches, snapshot
from helpers.plain import EPOCHS, SETTINGS
from helpers.reference import Nonlinear, largest_difference, minimise
from helpers.regulated import fit
from inforeg_lightning.callbacks import DGLCallback


def dgl(modalities=2, **settings):
    return DGLCallback(encoder_paths(modalities), head="head", **settings)


def alone(features, name):
    return torch.cat([z if m == name else 0 * z for m, z in features.items()], dim=1)


class Objective:
    """The joint loss of constant features, and alpha times the unimodal losses past the head.

    The head is a copy without gradient, which is run for one modality and zeros; where it is
    another one in evaluation mode, in that.
    """

    def __init__(self, module, alpha, window):
        self.module, self.alpha, self.window = module, alpha, window
        self.losses = []

    def __call__(self, epoch, features, label):
        acting = [m for m in features if epoch in self.window[m]]
        constant = [z.detach() if m in acting else z for m, z in features.items()]
        loss = F.cross_entropy(self.module.head(torch.cat(constant, 1)), label)
        parameters = [*self.module.head.parameters()]
        for p in parameters:
            p.requires_grad_(False)
        self.module.head.eval()
        for m in acting:
            unimodal = F.cross_entropy(self.module.head(alone(features, m)), label)
            self.losses.append((epoch, m, unimodal.item()))
            loss = loss + self.alpha * unimodal
        self.module.head.train()
        for p in parameters:
            p.requires_grad_(True)
        return loss


@pytest.mark.parametrize("alpha", [0.5, 4.0])
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("kind", [Late, Normed, Nonlinear])
def test_every_weight_of_every_epoch_is_that_of_the_objective(kind, modalities, alpha):
    batches = make_batches(modalities)
    # Open for all, then for the second alone, then for none, then for all.
    window = dict.fromkeys(encoder_paths(modalities), (0, 1, 4, 5)) | {"video": (0, 1, 2, 4, 5)}
    reference = kind(modalities, batches, **SETTINGS)
    objective = Objective(reference, alpha, window)
    theirs = minimise(reference, objective)
    callback = dgl(
        modalities,
        alpha=alpha,
        window=lambda traces: {m: len(traces[m]) in window[m] for m in traces},
    )
    module = fit(kind(modalities, batches, **SETTINGS), callback, max_epochs=EPOCHS)["module"]
    assert_close_weights(module.epoch_weights, theirs)
    torch.testing.assert_close(statistics(module), statistics(reference), rtol=0, atol=1e-10)
    for epoch, entry in enumerate(callback.history):
        for name in module.names:
            own = [loss for e, m, loss in objective.losses if (e, m) == (epoch, name)]
            if own:
                assert entry["unimodal_loss"][name] == pytest.approx(sum(own) / len(own))


def authors_loop(module, alpha, clip=None):
    """Two backward passes; what the first leaves on the head is taken away before the second."""
    optimizer = module.configure_optimizers()
    weights = []
    for _ in range(EPOCHS):
        for batch in module.batches:
            features, label = module.features(batch), batch["label"]
            fused = module.head(torch.cat([*features.values()], 1).detach())
            unimodal = [module.head(alone(features, m)) for m in features]
            optimizer.zero_grad()
            (sum(F.cross_entropy(z, label) for z in unimodal) * alpha).backward(retain_graph=True)
            for p in module.head.parameters():
                p.grad = None
            F.cross_entropy(fused, label).backward()
            if clip is not None:
                torch.nn.utils.clip_grad_norm_(module.parameters(), max_norm=clip)
            optimizer.step()
        weights.append(snapshot(module))
    return weights


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("kind", [Late, Normed])
def test_the_authors_two_backward_passes_train_the_same(kind, modalities):
    batches = make_batches(modalities)
    theirs = authors_loop(kind(modalities, batches, **SETTINGS), alpha=4.0)
    ours = fit(kind(modalities, batches, **SETTINGS), dgl(modalities), max_epochs=EPOCHS)
    assert_close_weights(ours["weights"], theirs)


def test_and_so_they_do_with_their_clipping():
    batches = make_batches()
    theirs = authors_loop(Normed(2, batches, **SETTINGS), alpha=4.0, clip=1.0)
    ours = fit(Normed(2, batches, **SETTINGS), dgl(), max_epochs=EPOCHS, gradient_clip_val=1.0)
    assert_close_weights(ours["weights"], theirs)
    unclipped = fit(Normed(2, batches, **SETTINGS), dgl(), max_epochs=EPOCHS)["weights"]
    assert largest_difference(unclipped[-1], theirs[-1]) > 1e-3


def test_the_comparison_can_fail():
    batches = make_batches()
    ours = fit(Late(2, batches, **SETTINGS), dgl(alpha=1.0), max_epochs=EPOCHS)["weights"]
    plain = fit(Late(2, batches, **SETTINGS), None, max_epochs=EPOCHS)["weights"]
    assert largest_difference(ours[-1], plain[-1]) > 1e-3
