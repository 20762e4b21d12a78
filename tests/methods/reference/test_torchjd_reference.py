"""Training through a Trainer against a plain loop with one backward pass for each loss."""

import pytest
import torch
import torch.nn.functional as F

from helpers.batch_norm import Normed
from helpers.comparison import assert_close_weights
from helpers.modules import Late, encoder_paths, make_batches, snapshot
from helpers.plain import EPOCHS, unimodal_logits
from helpers.regulated import fit
from inforeg_lightning.callbacks import TorchJDCallback


def made(kind=Late, modalities=2):
    """A head so sure of itself that the two losses of an encoder disagree now and then."""
    batches = make_batches(modalities, batches=6, size=4)
    module = kind(modalities, batches, lr=0.03, momentum=0.5, weight_decay=1e-3)
    with torch.no_grad():
        module.head.weight *= 10
    return module


def torchjd(modalities=2, **settings):
    settings = {"unimodal_heads": "shared"} | settings
    return TorchJDCallback(encoder_paths(modalities), head="head", **settings)


def loop(module, aggregator, window=lambda epoch, name: True):
    """Weights by epoch, and how many pairs of gradients were in conflict."""
    optimizer = module.configure_optimizers()
    weights, conflicts = [], 0
    for epoch in range(EPOCHS):
        acting = [name for name in module.names if window(epoch, name)]
        for batch in module.batches:
            features = module.features(batch)
            joint = F.cross_entropy(module.head(torch.cat([*features.values()], 1)), batch["label"])
            unimodal = unimodal_logits(module, features)
            own = {name: F.cross_entropy(unimodal[name], batch["label"]) for name in acting}
            new = {}
            for name in acting:
                parameters = [*getattr(module, f"{name}_encoder").parameters()]
                rows = [
                    torch.cat(
                        [
                            g.flatten()
                            for g in torch.autograd.grad(loss, parameters, retain_graph=True)
                        ]
                    )
                    for loss in (joint, own[name])
                ]
                conflicts += int(torch.dot(*rows) < 0)
                found = aggregator(torch.stack(rows))
                parts = found.split([p.numel() for p in parameters])
                new |= {p: part.view_as(p) for p, part in zip(parameters, parts, strict=True)}
            optimizer.zero_grad()
            (joint + sum(own.values())).backward()
            for p, gradient in new.items():
                p.grad = gradient
            optimizer.step()
        weights.append(snapshot(module))
    return weights, conflicts


def lopsided(jacobian):
    """Not linear, and not the same if the rows change places."""
    return 0.7 * jacobian[0] + 0.2 * jacobian[0].norm() * F.normalize(jacobian[1], dim=0)


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("kind", [Late, Normed])
def test_every_weight_of_every_epoch_is_that_of_the_loop(kind, modalities):
    opens = dict.fromkeys(encoder_paths(modalities), range(1, 4)) | {"video": range(3, 5)}

    def window(traces):
        return {name: len(trace) in opens[name] for name, trace in traces.items()}

    theirs, _ = loop(made(kind, modalities), lopsided, lambda epoch, name: epoch in opens[name])
    callback = torchjd(modalities, aggregator=lopsided, window=window)
    ours = fit(made(kind, modalities), callback, max_epochs=EPOCHS)
    assert_close_weights(ours["weights"], theirs)
    for epoch, entry in enumerate(callback.history):
        for name, within in opens.items():
            assert (entry["cosine"][name] is not None) == (epoch in within)


def upgrad(jacobian):
    """Of two gradients: the mean of both, each without what of it is against the other."""
    g, u = jacobian
    inner = torch.dot(g, u)
    if inner < 0:
        g, u = g - inner / torch.dot(u, u) * u, u - inner / torch.dot(g, g) * g
    return (g + u) / 2


def test_by_default_it_is_upgrad_as_its_paper_has_it():
    """TorchJD adds 1e-4 to what it divides by, and to the diagonal of what it solves."""
    theirs, conflicts = loop(made(), upgrad)
    assert conflicts >= 1
    ours = fit(made(), torchjd(), max_epochs=EPOCHS)["weights"]
    assert_close_weights(ours, theirs, atol=5e-3)
    joint = fit(made(), None, max_epochs=EPOCHS)["weights"]
    with pytest.raises(AssertionError):
        assert_close_weights(ours, joint, atol=5e-2)
