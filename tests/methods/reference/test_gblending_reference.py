"""Training and validating through a Trainer against a plain loop of weighted losses."""

import pytest
import torch
import torch.nn.functional as F

from helpers.comparison import assert_close_weights
from helpers.modules import Late, encoder_paths, make_batches, snapshot
from helpers.regulated import fit
from helpers.unimodal_losses import WithUnimodalLosses, logits_of
from inforeg_lightning.callbacks import GBlendingCallback

EPOCHS = 8
SUPER_EPOCH = 2
REGULARISER = 0.01


class Validated(Late):
    """Its loss has a term that does not go through the head's output."""

    def training_step(self, batch, batch_idx):
        return super().training_step(batch, batch_idx) + regulariser(self)

    def validation_step(self, batch, batch_idx):
        self(batch)

    def val_dataloader(self):
        return torch.utils.data.DataLoader(val_batches(len(self.names)), batch_size=None)


class ValidatedWithUnimodalLosses(Validated, WithUnimodalLosses):
    pass


def regulariser(module):
    return REGULARISER * sum(p.square().sum() for p in module.parameters())


def val_batches(modalities):
    batches = make_batches(modalities, batches=3, seed=7)
    batches[-1] = {key: value[:3] for key, value in batches[-1].items()}  # a smaller last batch
    return batches


def losses_of(module, batch):
    """Of each modality and of all, with a graph."""
    fused, unimodal = logits_of(module, batch)
    return [F.cross_entropy(z, batch["label"]) for z in (*unimodal.values(), fused)]


def validate(module):
    sums, count = [0.0] * (len(module.names) + 1), 0
    with torch.no_grad():
        for batch in val_batches(len(module.names)):
            size = len(batch["label"])
            losses = losses_of(module, batch)
            sums = [s + size * float(x) for s, x in zip(sums, losses, strict=True)]
            count += size
    return [s / count for s in sums]


def gblending_loop(module, window=lambda epoch, name: True):
    """Parameters by epoch, and the weights of the losses by epoch."""
    optimizer = module.configure_optimizers()
    number = len(module.names) + 1
    estimated, start, parameters, history = [1 / number] * number, None, [], []
    for epoch in range(EPOCHS):
        inside = [window(epoch, name) for name in module.names]
        weights = [w if keep else 0.0 for w, keep in zip(estimated, [*inside, True], strict=True)]
        if not any(inside):
            weights = [0.0] * (number - 1) + [1.0]
        if sum(weights) == 0:
            weights = [float(keep) for keep in (*inside, True)]
        weights = [w / sum(weights) for w in weights]
        train = [0.0] * number
        for batch in module.batches:
            losses = losses_of(module, batch)
            train = [s + x.item() / len(module.batches) for s, x in zip(train, losses, strict=True)]
            total = sum(w * loss for w, loss in zip(weights, losses, strict=True))
            optimizer.zero_grad()
            (total + regulariser(module)).backward()
            optimizer.step()
        val = validate(module)
        parameters.append(snapshot(module))
        history.append(weights)
        if start is None:
            start = (epoch, train, val)
        elif epoch - start[0] == SUPER_EPOCH:
            ratios = []
            for k in range(number):
                growth = (val[k] - train[k]) - (start[2][k] - start[1][k])
                ratios.append(max(start[2][k] - val[k], 0) / max(abs(growth), 1e-3) ** 2)
            if sum(ratios) > 0:
                estimated = [ratio / sum(ratios) for ratio in ratios]
            start = (epoch, train, val)
    return parameters, history


def made(modalities=2, kind=Validated):
    return kind(modalities, make_batches(modalities), lr=0.05, momentum=0.5)


def gblending(modalities=2, **settings):
    settings = {
        "super_epoch": SUPER_EPOCH,
        "measure": "running",
        "floor": 0.0,
        "unimodal_heads": "shared",
    } | settings
    return GBlendingCallback(encoder_paths(modalities), head="head", **settings)


@pytest.mark.parametrize("modalities", [2, 3])
def test_every_weight_of_every_epoch_is_that_of_the_formula(modalities):
    theirs, weights = gblending_loop(made(modalities))
    assert len({tuple(row) for row in weights}) > 2, "the weights must change"
    callback = gblending(modalities)
    assert_close_weights(fit(made(modalities), callback, max_epochs=EPOCHS)["weights"], theirs)
    for entry, expected in zip(callback.history, weights, strict=True):
        assert [*entry["weight"].values()] == pytest.approx(expected, rel=1e-9)


def test_each_modality_has_its_own_window():
    opens = {"audio": range(1, 6), "video": range(4, 7)}

    def window(traces):
        return {name: len(trace) in opens[name] for name, trace in traces.items()}

    theirs, _ = gblending_loop(made(), lambda epoch, name: epoch in opens[name])
    assert_close_weights(
        fit(made(), gblending(window=window), max_epochs=EPOCHS)["weights"], theirs
    )


# Its regulariser is of the head too, and so beside the unimodal losses there.
@pytest.mark.filterwarnings("ignore:.*are not the mean cross-entropies with weight 1:UserWarning")
def test_unimodal_losses_of_the_module_or_of_the_callback_are_the_same():
    brought = fit(made(), gblending(), max_epochs=EPOCHS)["module"]
    callback = gblending(unimodal_losses_included=True)
    included = fit(made(kind=ValidatedWithUnimodalLosses), callback, max_epochs=EPOCHS)["module"]
    assert_close_weights(included.epoch_weights, brought.epoch_weights, atol=1e-12)
