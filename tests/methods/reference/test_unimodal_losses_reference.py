"""Training through a Trainer against a plain loop of the joint loss and one loss per modality."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.comparison import assert_close_weights
from helpers.modules import Late, encoder_paths, heads_of, make_batches, snapshot
from helpers.regulated import fit
from helpers.unimodal_losses import WithUnimodalLosses, logits_of
from inforeg_lightning.callbacks import UnimodalLossesCallback

EPOCHS = 4


class Normed(Late):
    """With BatchNorm in the encoders."""

    def make_encoder(self, inputs, width):
        return nn.Sequential(
            nn.Linear(inputs, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, width)
        )


def made(kind=Late, modalities=2):
    return kind(modalities, make_batches(modalities, batches=3, size=6), weight_decay=1e-3)


def callback(modalities=2, **settings):
    return UnimodalLossesCallback(encoder_paths(modalities), head="head", **settings)


def first_heads(module):
    """Linear heads as the callback draws them: torch's seed, each modality the same draw."""
    heads = {}
    for name in module.names:
        width = getattr(module, f"{name}_encoder")[-1].out_features
        generator = torch.Generator().manual_seed(torch.initial_seed())
        heads[name] = nn.Linear(width, module.head.out_features).double()
        for p in heads[name].parameters():
            p.data.copy_((2 * torch.rand(p.shape, generator=generator) - 1) * width**-0.5)
    return heads


def plain(module, weight=1.0, own=False, acts=lambda epoch, name: True):
    heads = first_heads(module) if own else {}
    parameters = [*module.parameters(), *(p for h in heads.values() for p in h.parameters())]
    optimizer = torch.optim.SGD(parameters, **module.sgd)
    weights = []
    for epoch in range(EPOCHS):
        for batch in module.batches:
            optimizer.zero_grad(set_to_none=False)
            if own:
                features = module.features(batch)
                fused = module.head(torch.cat([*features.values()], 1))
                alone = {name: heads[name](z) for name, z in features.items()}
            else:
                fused, alone = logits_of(module, batch)
            loss = F.cross_entropy(fused, batch["label"])
            for name, logits in alone.items():
                loss = loss + weight * acts(epoch, name) * F.cross_entropy(logits, batch["label"])
            loss.backward()
            optimizer.step()
        weights.append(snapshot(module))
    return weights, {f"{m}.{n}": p for m, h in heads.items() for n, p in h.named_parameters()}


@pytest.mark.parametrize("kind", [Late, Normed])
@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize(("weight", "heads"), [(1.0, "shared"), (0.3, "shared"), (0.3, "own")])
def test_every_weight_of_every_epoch_is_that_of_the_formula(kind, modalities, weight, heads):
    ours = callback(modalities, weight=weight, unimodal_heads=heads)
    theirs, alone = plain(made(kind, modalities), weight, heads == "own")
    found = fit(made(kind, modalities), ours, max_epochs=EPOCHS)["weights"]
    assert_close_weights(found, theirs)
    assert_close_weights([heads_of(ours) | {"": torch.zeros(1)}], [alone | {"": torch.zeros(1)}])


@pytest.mark.parametrize("heads", ["shared", "own"])
def test_each_modality_has_its_own_window(heads):
    opens = {"audio": range(1, 3), "video": range(2, 4)}

    def window(traces):
        return {name: len(trace) in opens[name] for name, trace in traces.items()}

    theirs, _ = plain(made(), own=heads == "own", acts=lambda epoch, name: epoch in opens[name])
    ours = fit(made(), callback(window=window, unimodal_heads=heads), max_epochs=EPOCHS)
    assert_close_weights(ours["weights"], theirs)


def test_it_is_a_module_whose_own_loss_has_them():
    brought = fit(made(), callback(), max_epochs=EPOCHS)
    included = fit(made(WithUnimodalLosses), max_epochs=EPOCHS)
    assert_close_weights(brought["weights"], included["weights"], atol=1e-13)


def test_a_module_that_says_it_has_them_is_refused():
    with pytest.raises(ValueError, match=r"UnimodalLosses brings .* would then count twice"):
        fit(made(WithUnimodalLosses), callback())


def test_what_the_history_holds_is_the_loss_of_the_heads_that_train():
    ours = callback(unimodal_heads="own")
    module = made()
    module.sgd = {"lr": 0.0}
    fit(module, ours, max_epochs=1)
    heads = first_heads(module)
    for name in module.names:
        losses = [
            F.cross_entropy(heads[name](module.features(batch)[name]), batch["label"])
            for batch in module.batches
        ]
        expected = float(torch.stack(losses).mean().detach())
        assert ours.history[0]["unimodal_loss"][name] == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weight", [0.0, -1.0, float("nan")])
def test_the_weight_is_positive(weight):
    with pytest.raises(ValueError, match="`weight` must be above 0"):
        callback(weight=weight)
