"""AGM through a Trainer against a plain loop of the authors' formulas."""

import math

import pytest
import torch
import torch.nn.functional as F

from helpers.comparison import assert_close_weights
from helpers.modules import Late, encoder_paths, make_batches
from helpers.plain import EPOCHS, SETTINGS, Normed, unimodal_logits
from helpers.reference import (
    Nonlinear,
    largest_difference,
    minimise,
    true_class,
)
from helpers.regulated import fit
from inforeg_lightning.callbacks import AGMCallback


def features_at_zero(module, features, batch):
    """The head's output for the features of some modalities and zeros for the others."""

    def f(*kept):
        parts = [z if name in kept else torch.zeros_like(z) for name, z in features.items()]
        module.head.train(len(kept) == len(features))
        return module.head(torch.cat(parts, 1))

    return f


def inputs_at_zero(module, features, batch):
    """The whole network's, in evaluation mode, with inputs at zero: the authors' padded passes."""

    def f(*kept):
        if len(kept) == len(features):
            return module.head(torch.cat([*features.values()], 1))
        module.eval()
        padded = {n: batch[n] if n in kept else torch.zeros_like(batch[n]) for n in features}
        output = module(padded)
        module.train()
        return output

    return f


def shapley_by_hand(f, features):
    """The formulas of the authors' networks for two and for three modalities, written out."""
    if len(features) == 2:
        a, v = features
        return {a: 0.5 * (f(a, v) - f(v) + f(a)), v: 0.5 * (f(a, v) - f(a) + f(v))}
    shares = {}
    for m in features:
        i, j = (name for name in features if name != m)
        all_but = f(*(name for name in features if name in (i, j)))
        shares[m] = (f(*features) - all_but + f(m)) / 3
        shares[m] = shares[m] + (f(*{m, i}) - f(i) + f(*{m, j}) - f(j)) / 6
    return shares


class Reference:
    """Running means, ratios and coefficients of the authors' loop, in plain numbers."""

    def __init__(self, module, alpha, window, outputs=None):
        self.module, self.alpha, self.window, self.outputs = module, alpha, window, outputs
        self.means = dict.fromkeys(module.names, 0.0)
        self.batches = 0
        self.used = []

    def loss(self, epoch, features, label):
        if self.outputs is None:
            shares = unimodal_logits(self.module, features)
        else:
            batch = self.module.batches[self.batches % len(self.module.batches)]
            shares = shapley_by_hand(self.outputs(self.module, features, batch), features)
        score = {}
        for name, phi in shares.items():
            p = true_class(phi.detach().softmax(1), label).tolist()
            score[name] = sum(math.log(max(x, 1e-8)) for x in p) / len(p)
        kappa = {}
        for name in shares:
            others = [other for other in shares if other != name]
            r = math.exp(sum(score[name] - score[o] for o in others) / len(others))
            tau = math.exp(sum(self.means[name] - self.means[o] for o in others) / len(others))
            is_open = name in self.window and epoch in self.window[name]
            kappa[name] = math.exp(self.alpha * min(tau - r, 10)) if is_open else 1.0
        self.batches += 1
        for name in shares:
            self.means[name] += (score[name] - self.means[name]) / self.batches
        self.used.append((epoch, kappa))
        output = sum(
            kappa[name] * phi + (1 - kappa[name]) * phi.detach() for name, phi in shares.items()
        )
        return F.cross_entropy(output, label)


class NormedNonlinear(Nonlinear, Normed):
    """Batch norm in the encoders, and a head that mixes the modalities."""


@pytest.mark.parametrize(
    ("kind", "modalities", "alpha", "outputs"),
    [
        (Late, 2, 2.5, None),
        (Normed, 3, 0.3, None),
        (Nonlinear, 2, 0.3, features_at_zero),
        (NormedNonlinear, 3, 2.5, features_at_zero),
        (Normed, 2, 1.5, inputs_at_zero),
        (Normed, 3, 0.3, inputs_at_zero),
        (NormedNonlinear, 2, 0.3, inputs_at_zero),
        (NormedNonlinear, 3, 1.5, inputs_at_zero),
    ],
)
def test_every_weight_of_every_epoch_is_that_of_the_formulas(kind, modalities, alpha, outputs):
    batches = make_batches(modalities)
    # Open for all, then for the second alone, then for none, then for all.
    window = dict.fromkeys(encoder_paths(modalities), (0, 1, 4, 5)) | {"video": (0, 1, 2, 4, 5)}
    reference = Reference(kind(modalities, batches, **SETTINGS), alpha, window, outputs)
    theirs = minimise(reference.module, reference.loss)

    callback = AGMCallback(
        encoder_paths(modalities),
        head="head",
        alpha=alpha,
        zeroed="inputs" if outputs is inputs_at_zero else "features",
        window=lambda traces: {m: len(traces[m]) in window[m] for m in traces},
    )
    module = fit(kind(modalities, batches, **SETTINGS), callback, max_epochs=EPOCHS)["module"]

    assert_close_weights(module.epoch_weights, theirs)
    for epoch, entry in enumerate(callback.history):
        for name in module.names:
            steps = [kappa[name] for e, kappa in reference.used if e == epoch]
            assert entry["coefficient"][name] == pytest.approx(sum(steps) / len(steps))
            assert (entry["coefficient"][name] != 1.0) == (epoch in window[name])


def test_probabilities_below_1e_8_count_as_1e_8():
    batches = make_batches()
    modules = [Late(2, batches, lr=1e-4) for _ in range(2)]
    for module in modules:
        module.head.weight.data *= 100
    window = dict.fromkeys(encoder_paths(), range(EPOCHS))
    reference = Reference(modules[0], 0.3, window)
    logits = unimodal_logits(reference.module, reference.module.features(batches[0]))
    p = true_class(logits["audio"].softmax(1), batches[0]["label"])
    assert 0 < p.min() < 1e-8 < p.max()
    theirs = minimise(reference.module, reference.loss)
    ours = fit(modules[1], AGMCallback(encoder_paths(), head="head", alpha=0.3), max_epochs=EPOCHS)[
        "module"
    ]
    assert_close_weights(ours.epoch_weights, theirs)


def test_the_comparison_can_fail():
    batches = make_batches()
    ours = fit(
        Late(2, batches, **SETTINGS), AGMCallback(encoder_paths(), head="head"), max_epochs=EPOCHS
    )["module"]
    plain = fit(Late(2, batches, **SETTINGS), None, max_epochs=EPOCHS)["module"]
    assert largest_difference(ours.epoch_weights[-1], plain.epoch_weights[-1]) > 1e-3


@pytest.mark.parametrize("kind", [Late, Nonlinear])
def test_the_first_loss_is_that_of_training_without_to_the_bit(kind):
    losses = []

    class Remembers(kind):
        def training_step(self, batch, batch_idx):
            losses.append(super().training_step(batch, batch_idx))
            return losses[-1]

    for callback in (None, AGMCallback(encoder_paths(), head="head")):
        fit(Remembers(2, make_batches(batches=1), **SETTINGS), callback, max_epochs=EPOCHS)
    assert torch.equal(losses[0], losses[EPOCHS])
    assert not torch.equal(losses[1], losses[EPOCHS + 1])


@pytest.mark.filterwarnings("ignore:AGMCallback. 1 of 3 steps")
def test_a_batch_that_is_not_finite_stays_out_of_the_running_means():
    batches = make_batches(batches=3)
    bad = {**batches[1], "audio": torch.full_like(batches[1]["audio"], float("nan"))}

    class Guarded(Late):
        """Goes on as if the bad batch had not been."""

        def on_before_optimizer_step(self, optimizer):
            for parameter in self.parameters():
                parameter.grad = torch.nan_to_num(parameter.grad, nan=0.0)

    sgd = {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0}
    without = [batches[0], batches[2]]
    trained = []
    for given in ([batches[0], bad, batches[2]], without):
        callback = AGMCallback(encoder_paths(), head="head")
        module = fit(Guarded(2, given, **sgd), callback, max_epochs=EPOCHS)["module"]
        trained.append((module.epoch_weights[0], callback.state_dict()["method"]))
    (ours, state), (theirs, expected) = trained
    assert largest_difference(ours, theirs) < 1e-12
    assert state["steps"].tolist() == expected["steps"].tolist() == [2 * EPOCHS] * 2
    torch.testing.assert_close(state["means"], expected["means"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("alpha", [0, -1.0, 8.1, float("nan"), float("inf")])
def test_an_alpha_out_of_range_is_refused(alpha):
    with pytest.raises(ValueError, match=r"`alpha` must be above 0 to 8"):
        AGMCallback(encoder_paths(), head="head", alpha=alpha)
