"""PMR through a Trainer against a plain loop of the paper's equations."""

import pytest
import torch
import torch.nn.functional as F

from helpers.comparison import assert_close_weights
from helpers.modules import (
    CLASSES,
    Late,
    encoder_paths,
    make_batches,
    snapshot,
)
from helpers.plain import EPOCHS, SETTINGS
from helpers.reference import Nonlinear, largest_difference, minimise, true_class
from helpers.regulated import fit
from inforeg_lightning.callbacks import PMRCallback


class Reference:
    """Equations 6 to 13, class by class and distance by distance."""

    def __init__(self, module, window, alpha=1.0, mu=1e-2, momentum=0.2, entropy_periods=5):
        self.module, self.window = module, window
        self.alpha, self.mu, self.momentum = alpha, mu, momentum
        self.entropy_periods = entropy_periods
        self.prototypes = {name: {} for name in module.names}
        self.seen = {name: {} for name in module.names}
        self.coefficients = [[]]

    def loss(self, epoch, features, label):
        for name, z in features.items():
            for row, k in zip(z.detach(), label.tolist(), strict=True):
                self.seen[name].setdefault(k, []).append(row)
        loss = F.cross_entropy(self.module.head(torch.cat([*features.values()], 1)), label)
        if epoch == 0:
            return loss
        strength, pce, entropy = {}, {}, {}
        known = sorted(self.prototypes[self.module.names[0]])
        counted = torch.tensor([k in known for k in label.tolist()])
        place = torch.tensor([known.index(k) for k in label[counted].tolist()])
        for name, z in features.items():
            distances = [
                ((z[counted] - self.prototypes[name][k]) ** 2).sum(1).sqrt() for k in known
            ]
            p = torch.softmax(-torch.stack(distances, 1), 1)
            strength[name] = float(true_class(p.detach(), place).sum())
            pce[name] = -true_class(p, place).log().mean()
            entropy[name] = -(p * p.log()).sum(1).mean()
        faster = {}
        for name in features:
            others = [strength[o] for o in features if o != name]
            faster[name] = strength[name] / (sum(others) / len(others))
        for name in features:
            if epoch not in self.window[name]:
                continue
            if faster[name] < 1:
                beta = min(1 / faster[name] - 1, 1)
                loss = loss + self.alpha * beta * pce[name]
                self.coefficients[-1].append((name, beta, pce[name].item()))
            elif epoch < self.entropy_periods:
                loss = loss - self.mu * min(faster[name] - 1, 1) * entropy[name]
        return loss

    def end_epoch(self):
        for name, by_class in self.seen.items():
            for k, rows in by_class.items():
                mean = torch.stack(rows).mean(0)
                old = self.prototypes[name].get(k)
                keep = self.momentum
                self.prototypes[name][k] = mean if old is None else keep * old + (1 - keep) * mean
        self.seen = {name: {} for name in self.module.names}
        self.coefficients.append([])


WINDOW = {"audio": (0, 1, 4, 5), "video": (0, 1, 2, 4, 5), "text": (0, 1, 4, 5)}


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("kind", [Late, Nonlinear])
@pytest.mark.parametrize(
    "settings",
    [{}, {"alpha": 2.0, "mu": 0.5, "momentum": 0.6, "entropy_periods": 3}, {"mu": 0.0}],
)
def test_every_weight_of_every_epoch_is_that_of_the_paper(kind, modalities, settings):
    batches = make_batches(modalities)
    reference = Reference(kind(modalities, batches, **SETTINGS), WINDOW, **settings)
    theirs = minimise(reference.module, reference.loss, end_epoch=reference.end_epoch)

    callback = PMRCallback(
        encoder_paths(modalities),
        head="head",
        window=lambda traces: {m: len(traces[m]) in WINDOW[m] for m in traces},
        **settings,
    )
    module = fit(kind(modalities, batches, **SETTINGS), callback, max_epochs=EPOCHS)["module"]

    assert_close_weights(module.epoch_weights, theirs)
    for epoch, entry in enumerate(callback.history):
        for name in module.names:
            betas = [beta for other, beta, _ in reference.coefficients[epoch] if other == name]
            expected = sum(betas) / len(batches)
            assert entry["coefficient"][name] == pytest.approx(expected), (epoch, name)
            assert (entry["prototype_loss"][name] is None) == (epoch == 0)
    assert any(reference.coefficients)


class Published:
    """What the authors' training loop adds to the loss, of two modalities, in epochs 0 to 70.

    Prototypes are plain class means of the epoch before (``momentum_coef`` 0). The modality whose
    summed probability of the true class is smaller has its distances, negated, as logits of a
    cross-entropy with weight α; there is no other term.
    """

    last = 2  # in place of 70

    def __init__(self, module, alpha):
        self.module, self.alpha = module, alpha
        self.means = {}
        self.seen = {name: [] for name in module.names}
        self.chosen = set()

    def loss(self, epoch, features, label):
        for name, z in features.items():
            self.seen[name].append((z.detach(), label))
        loss = F.cross_entropy(self.module.head(torch.cat([*features.values()], 1)), label)
        if not self.means or not 0 <= epoch <= self.last:
            return loss
        similar = {
            name: -(z[:, None] - self.means[name][None]).square().sum(-1).sqrt()
            for name, z in features.items()
        }
        first, second = features
        score = {name: true_class(s.softmax(1), label).sum() for name, s in similar.items()}
        ratio = score[first] / score[second]
        slower = second if ratio > 1 else first
        self.chosen.add(slower)
        return loss + self.alpha * F.cross_entropy(similar[slower], label)

    def end_epoch(self):
        for name, seen in self.seen.items():
            z, label = (torch.cat(parts) for parts in zip(*seen, strict=True))
            self.means[name] = torch.stack([z[label == k].mean(0) for k in range(CLASSES)])
        self.seen = {name: [] for name in self.module.names}


class Normalised(Late):
    """With BatchNorm in the encoders."""

    def make_encoder(self, inputs, width):
        return torch.nn.Sequential(
            torch.nn.Linear(inputs, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, width)
        )


@pytest.mark.parametrize("kind", [Late, Normalised])
def test_binary_coefficients_are_those_of_the_authors_code(kind):
    batches = make_batches()
    for batch in batches[2:]:  # in some batches the other one is behind
        batch["audio"] = batch["audio"].flip(0)
    reference = Published(kind(2, batches, **SETTINGS), alpha=2.0)
    theirs = minimise(reference.module, reference.loss, end_epoch=reference.end_epoch)
    assert reference.chosen == {"audio", "video"}

    callback = PMRCallback(
        encoder_paths(),
        head="head",
        coefficients="binary",
        alpha=2.0,
        window=(0, Published.last + 1),
    )
    module = fit(kind(2, batches, **SETTINGS), callback, max_epochs=EPOCHS)["module"]
    assert_close_weights(module.epoch_weights, theirs)
    assert callback.history[1]["coefficient"]["audio"] > 0
    assert callback.history[Published.last + 1]["coefficient"] == {"audio": 0.0, "video": 0.0}


def test_the_prototype_loss_of_the_history_is_its_mean():
    batches = make_batches(batches=1)
    reference = Reference(Late(2, batches, **SETTINGS), WINDOW)
    minimise(reference.module, reference.loss, end_epoch=reference.end_epoch)
    callback = PMRCallback(encoder_paths(), head="head", window=(0, 2))
    fit(Late(2, batches, **SETTINGS), callback, max_epochs=EPOCHS)
    ((name, _, loss),) = reference.coefficients[1]
    assert callback.history[1]["prototype_loss"][name] == pytest.approx(loss)


def test_a_class_that_first_comes_later_has_no_prototype_until_it_was_seen():
    batches = make_batches()

    class Late2(Late):
        """The last class, first seen in the third epoch."""

        def train_dataloader(self):
            return torch.utils.data.DataLoader(self.of(self.current_epoch), batch_size=None)

        def of(self, epoch):
            given = self.batches
            if epoch >= 2:
                return given
            kept = [batch["label"] < CLASSES - 1 for batch in given]
            return [{k: v[keep] for k, v in b.items()} for b, keep in zip(given, kept, strict=True)]

    module = Late2(2, batches, **SETTINGS)
    reference = Reference(Late(2, batches, **SETTINGS), dict.fromkeys(WINDOW, range(EPOCHS)))
    optimizer = reference.module.configure_optimizers()
    for epoch in range(EPOCHS):
        for batch in module.of(epoch):
            loss = reference.loss(epoch, reference.module.features(batch), batch["label"])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        reference.end_epoch()
    callback = PMRCallback(encoder_paths(), head="head")
    fit(module, callback, reload_dataloaders_every_n_epochs=1, max_epochs=EPOCHS)
    theirs = snapshot(reference.module)
    assert largest_difference(module.epoch_weights[-1], theirs) < 1e-10


def test_the_comparison_can_fail():
    batches = make_batches()
    ours = fit(
        Late(2, batches, **SETTINGS), PMRCallback(encoder_paths(), head="head"), max_epochs=EPOCHS
    )["module"]
    plain = fit(Late(2, batches, **SETTINGS), None, max_epochs=EPOCHS)["module"]
    assert largest_difference(ours.epoch_weights[-1], plain.epoch_weights[-1]) > 1e-3


def test_features_whose_width_changes_are_refused():
    class Sequences(Late):
        """Tokens, flattened by nobody; the head pools."""

        def make_head(self, width):
            class Pool(torch.nn.Linear):
                def forward(self, x):
                    return super().forward(x.mean(1))

            return Pool(width, CLASSES)

    batches = make_batches(batches=2)
    for length, batch in enumerate(batches, start=2):
        for name in encoder_paths():
            batch[name] = batch[name][:, None].expand(-1, length, -1)

    class Joined(Sequences):
        def forward(self, batch):
            return self.head(torch.cat([*self.features(batch).values()], dim=-1))

    with pytest.raises(ValueError, match="PMRCallback had 3 classes and features of audio 10 wide"):
        fit(
            Joined(2, batches, **SETTINGS),
            PMRCallback(encoder_paths(), head="head"),
            max_epochs=EPOCHS,
        )


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 0.0}, "`alpha` must be above 0"),
        ({"momentum": 1.0}, "`momentum` must be below 1"),
        ({"mu": -0.1}, "`mu` must be from 0"),
        ({"entropy_periods": 1.5}, "`entropy_periods` must be a number of periods"),
        ({"coefficients": "hard"}, "`coefficients` must be one of"),
        ({"coefficients": "binary", "mu": 0.1}, "`mu` must be 0 with coefficients='binary'"),
    ],
)
def test_arguments_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        PMRCallback(encoder_paths(), head="head", **settings)
