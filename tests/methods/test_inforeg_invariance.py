"""What must not matter, and what must never happen, for any number of modalities and any window."""

import lightning.pytorch as L
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from helpers.modules import assert_same_weights, snapshot
from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback
from inforeg_lightning.core.scores import linear_unimodal_logits

EPOCHS, BATCHES, CLASSES = 4, 2, 3
WINDOWS = ["paper", "official", "adaptive", "always", "outside", (1, 3)]
few = settings(max_examples=8, deadline=None)
modalities = st.integers(2, 6)
windows = st.sampled_from(WINDOWS)
seeds = st.integers(0, 2**31)


class Many(L.LightningModule):
    """Encoders ``m0`` to ``m<M-1>`` and a linear head, in double precision, plain descent."""

    def __init__(self, modalities, seed, rename=lambda name: name, momentum=0.0):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.names = [rename(f"m{index}") for index in range(modalities)]
        self.momentum = momentum
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.encoders = nn.ModuleDict(
                {n: nn.Sequential(nn.Linear(4, 3), nn.Tanh()) for n in self.names}
            )
            self.head = nn.Linear(3 * modalities, CLASSES)
        self.double()
        self.scores, self.batches = [], []
        for _ in range(BATCHES):
            label = torch.randint(CLASSES, (6,), generator=generator)
            batch = {"label": label}
            for rank, name in enumerate(self.names):
                x = torch.randn(6, 4, generator=generator, dtype=torch.float64)
                x[:, :CLASSES] += 2.0 / (1 + rank) * F.one_hot(label, CLASSES)
                batch[name] = x
            self.batches.append(batch)

    def training_step(self, batch, batch_idx):
        features = {name: self.encoders[name](batch[name]) for name in self.names}
        unimodal = linear_unimodal_logits(self.head.weight, self.head.bias, features)
        self.scores.append(
            [-F.cross_entropy(logits, batch["label"]).item() for logits in unimodal.values()]
        )
        return F.cross_entropy(self.head(torch.cat([*features.values()], 1)), batch["label"])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.2, momentum=self.momentum)

    def train_dataloader(self):
        return torch.utils.data.DataLoader(self.batches, batch_size=None)


def paths(module, order=None):
    names = module.names if order is None else [module.names[index] for index in order]
    return {name: f"encoders.{name}" for name in names}


def fit(module, *callbacks):
    quiet_trainer(max_epochs=EPOCHS, callbacks=[*callbacks]).fit(module)
    return module


def assert_close_weights(ours, theirs):
    for (name, mine), reference in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, reference, rtol=0, atol=1e-12, msg=name)


@few
@given(modalities, windows, seeds, st.randoms())
def test_the_order_of_encoders_does_not_matter(m, window, seed, random):
    if window == "official":  # its gate is the first
        window = "always"
    order = [*range(m)]
    random.shuffle(order)
    one, other = Many(m, seed), Many(m, seed)
    here = InfoRegCallback(paths(one), head="head", window=window)
    there = InfoRegCallback(paths(other, order), head="head", window=window)
    assert_close_weights(fit(one, here), fit(other, there))
    for mine, theirs in zip(here.history, there.history, strict=True):
        assert mine["in_window"] == theirs["in_window"]
        assert mine["alpha"] == pytest.approx(theirs["alpha"], rel=1e-9)


@few
@given(modalities, seeds, st.randoms())
def test_the_order_does_not_matter_to_the_published_variant_either(m, seed, random):
    order = [*range(m)]
    random.shuffle(order)
    factors = {f"m{index}": 0.2 + 0.3 * index for index in range(m)}
    one, other = Many(m, seed), Many(m, seed)
    here = InfoRegCallback.official(paths(one), head="head", strength=factors, gate="m0")
    there = InfoRegCallback.official(paths(other, order), head="head", strength=factors, gate="m0")
    assert_close_weights(fit(one, here), fit(other, there))


@few
@given(modalities, windows, seeds)
def test_the_names_do_not_matter(m, window, seed):
    def rename(name):
        return f"zz{9 - int(name[1:])}"  # the alphabetical order is another

    one, other = Many(m, seed), Many(m, seed, rename)
    fit(one, InfoRegCallback(paths(one), head="head", window=window))
    fit(other, InfoRegCallback(paths(other), head="head", window=window))
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@few
@given(modalities, windows, seeds)
def test_a_constant_added_to_all_scores_does_not_matter(m, window, seed):
    def plain(logits, target):
        return logits.gather(1, target[:, None])[:, 0]

    def shifted(logits, target):
        return plain(logits, target) + 4.0

    one, other = Many(m, seed), Many(m, seed)
    fit(one, InfoRegCallback(paths(one), head="head", window=window, score=plain))
    fit(other, InfoRegCallback(paths(other), head="head", window=window, score=shifted))
    assert_close_weights(one, other)


class Watch(L.Callback):
    """Gradients before and after the regulation, weights at the start of each epoch; step by step.

    Stands before and after the callback in the Trainer's list.
    """

    def __init__(self):
        self.before, self.after, self.weights, self.anchors = [], [], [], []
        watch = self

        class Last(L.Callback):
            def on_before_optimizer_step(self, trainer, pl_module, optimizer):
                watch.after.append(gradients(pl_module))

        self.last = Last()

    def on_train_epoch_start(self, trainer, pl_module):
        self.start = snapshot(pl_module)

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.before.append(gradients(pl_module))
        self.weights.append(snapshot(pl_module))
        self.anchors.append(self.start)


def gradients(module):
    return {name: p.grad.clone() for name, p in module.named_parameters()}


@few
@given(modalities, windows, seeds, st.floats(0, 2))
def test_each_step_pulls_by_the_rules(m, window, seed, beta):
    module = Many(m, seed)
    watch = Watch()
    callback = InfoRegCallback(paths(module), head="head", window=window, beta=beta)
    fit(module, watch, callback, watch.last)
    assert len(watch.before) == len(watch.after) == len(module.scores) == EPOCHS * BATCHES
    for step, score in enumerate(module.scores):
        in_window = callback.history[step // BATCHES]["in_window"]
        for name, before in watch.before[step].items():
            added = watch.after[step][name] - before
            modality = name.split(".")[1] if name.startswith("encoders") else None
            if modality is None or not in_window[modality]:
                assert torch.equal(watch.after[step][name], before), "the head, or window shut"
                continue
            own = score[module.names.index(modality)]
            distance = watch.weights[step][name] - watch.anchors[step][name]
            if own == min(score):
                assert torch.equal(watch.after[step][name], before), "the weakest"
                continue
            # Along the segment to the anchor, with one α in [1, e^β].
            rounding = 1e-13
            assert (added * distance >= -rounding).all()
            assert (added.abs() >= distance.abs() - rounding).all()
            assert (
                added.abs() <= torch.tensor(beta).double().exp() * distance.abs() + rounding
            ).all()


@pytest.mark.filterwarnings("ignore:.*no period of this training can be regulated")
@few
@given(modalities, seeds, st.floats(0, 2), st.sampled_from(["never", (7, 9)]))
def test_with_the_window_shut_every_bit_is_as_without_the_callback(m, seed, beta, window):
    one, other = Many(m, seed, momentum=0.9), Many(m, seed, momentum=0.9)
    fit(one, InfoRegCallback(paths(one), head="head", window=window, beta=beta))
    assert_same_weights(snapshot(one), snapshot(fit(other)))


@few
@given(modalities, seeds)
def test_the_first_step_of_a_period_is_that_of_joint_training(m, seed):
    # The weights are their own anchor there: nothing to pull.
    module, watch = Many(m, seed), Watch()
    fit(module, watch, InfoRegCallback(paths(module), head="head", window="always"), watch.last)
    for step in range(0, EPOCHS * BATCHES, BATCHES):
        assert_same_weights(watch.after[step], watch.before[step])
    assert any(
        not torch.equal(watch.after[1][name], before) for name, before in watch.before[1].items()
    )
