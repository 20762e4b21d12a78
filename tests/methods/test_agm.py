"""AGM where batches lack modalities, features belong to nobody, and targets are of other shapes."""

import itertools
import math

import pytest
import torch
import torch.nn.functional as F

from helpers.comparison import assert_close_weights
from helpers.manual import Manual
from helpers.missing import NAMES, AsNetwork, Deep, InPlace, batches_with
from helpers.modules import CLASSES, WIDTHS, Late, encoder_paths, make_batches
from helpers.plain import EPOCHS, SETTINGS
from helpers.reference import largest_difference, true_class
from helpers.regulated import fit
from inforeg_lightning.callbacks import AGMCallback
from inforeg_lightning.engine.probe.probe import UnimodalProbe
from inforeg_lightning.methods.agm import mono_modal_outputs

KINDS = [NAMES, ("audio", "video"), ("audio",), ("video", "text"), NAMES, ("text",)]


def agm(modalities=3, **settings):
    return AGMCallback(encoder_paths(modalities), head="head", **{"alpha": 0.7} | settings)


class Reference:
    """The formulas over the modalities of each batch; tokens are passed back as they were."""

    def __init__(self, module, alpha):
        self.module, self.alpha = module, alpha
        self.scores = {name: [] for name in NAMES}
        self.used = []

    def loss(self, batch):
        module, label = self.module, batch["label"]
        has = [name for name in NAMES if name in batch]
        shares, output, start = {}, module.head.bias, 0
        for name, z in module.features(batch).items():
            share = z @ module.head.weight[:, start : start + z.shape[1]].T
            output = output + share
            start += z.shape[1]
            if name in has:
                shares[name] = share + module.head.bias / len(NAMES)
        score = {}
        for name, phi in shares.items():
            score[name] = true_class(phi.detach().log_softmax(1), label).mean().item()
        first = not any(self.scores.values())
        compared = [name for name in has if first or self.scores[name]]
        kappa = dict.fromkeys(NAMES, 1.0)
        for name in compared if len(compared) > 1 else ():
            others = [other for other in compared if other != name]
            mean = {
                n: 0.0 if first else sum(s) / len(s) for n, s in self.scores.items() if s or first
            }
            r = math.exp(sum(score[name] - score[o] for o in others) / len(others))
            tau = math.exp(sum(mean[name] - mean[o] for o in others) / len(others))
            kappa[name] = math.exp(self.alpha * min(tau - r, 10))
        for name in has:
            self.scores[name].append(score[name])
        self.used.append(kappa)
        for name, phi in shares.items():
            output = output + (kappa[name] - 1) * (phi - phi.detach())
        return F.cross_entropy(output, label)


@pytest.mark.parametrize("order", [1, -1], ids=["whole first", "whole last"])
def test_only_the_modalities_of_a_batch_are_compared(order):
    batches = batches_with(KINDS[::order])
    reference = Reference(InPlace(batches, **SETTINGS), alpha=0.7)
    optimizer = reference.module.configure_optimizers()
    weights = []
    for _ in range(EPOCHS):
        for batch in batches:
            loss = reference.loss(batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        weights.append({n: p.detach().clone() for n, p in reference.module.named_parameters()})
    callback = agm()
    module = fit(InPlace(batches, **SETTINGS), callback, max_epochs=EPOCHS)["module"]
    assert_close_weights(module.epoch_weights, weights)
    for epoch, entry in enumerate(callback.history):
        used = reference.used[epoch * len(batches) : (epoch + 1) * len(batches)]
        for name in NAMES:
            mean = sum(kappa[name] for kappa in used) / len(used)
            assert entry["coefficient"][name] == pytest.approx(mean)
    assert any(kappa["audio"] != 1 for kappa in reference.used)


@pytest.mark.parametrize("kind", [InPlace, Deep])
@pytest.mark.parametrize("order", [*itertools.permutations(range(4))][::5])
def test_no_order_of_batches_is_a_trap(kind, order):
    kinds = [KINDS[i] for i in (0, 2, 3, 5)]
    callback = agm()
    module = fit(
        kind(batches_with([kinds[i] for i in order]), **SETTINGS), callback, max_epochs=EPOCHS
    )["module"]
    assert all(weight.isfinite().all() for weight in module.epoch_weights[-1].values())
    for entry in callback.history:
        for quantity in ("trace", "score", "coefficient"):
            assert all(math.isfinite(value) for value in entry[quantity].values()), quantity


@pytest.mark.parametrize("strangers", [False, True])
def test_a_head_that_is_run_gives_what_splitting_it_gives(strangers):
    """For batches that lack modalities and features that belong to nobody too."""
    paths = encoder_paths(2 if strangers else 3)
    trained = []
    for kind in (InPlace, AsNetwork):
        callback = AGMCallback(paths, head="head", alpha=0.7)
        batches = batches_with([NAMES, ("audio", "text"), NAMES, ("video", "text")])
        trained.append(
            (
                fit(kind(batches, **SETTINGS), callback, max_epochs=EPOCHS)["module"],
                callback.history,
            )
        )
    (split, history), (run, same) = trained
    renamed = [
        {name.replace("head.0.", "head."): weight for name, weight in weights.items()}
        for weights in run.epoch_weights
    ]
    assert_close_weights(renamed, split.epoch_weights)
    for entry, other in zip(history, same, strict=True):
        assert other["coefficient"] == pytest.approx(entry["coefficient"])
        assert other["score"] == pytest.approx(entry["score"])
    assert history[0]["coefficient"]["audio"] != pytest.approx(1)


@pytest.mark.parametrize("kind", [InPlace, AsNetwork, Deep])
@pytest.mark.parametrize("modalities", [2, 3])
def test_the_shares_and_what_is_left_add_up_to_the_output(kind, modalities):
    """With coefficients of one nothing is changed: nobody's features keep their gradient."""
    batches = batches_with(KINDS if modalities == 3 else [NAMES, NAMES, ("audio", "text")])
    plain = fit(kind(batches, **SETTINGS), None, max_epochs=EPOCHS)["module"]
    ours = fit(kind(batches, **SETTINGS), agm(modalities, alpha=1e-14), max_epochs=EPOCHS)["module"]
    assert_close_weights(ours.epoch_weights, plain.epoch_weights)
    strong = fit(kind(batches, **SETTINGS), agm(modalities), max_epochs=EPOCHS)["module"]
    assert largest_difference(strong.epoch_weights[-1], plain.epoch_weights[-1]) > 1e-3


def test_a_share_is_what_a_modality_adds_where_nobodys_features_stand():
    (batch,) = batches_with([NAMES])
    module = Deep([batch])
    modules = {name: [getattr(module, f"{name}_encoder")] for name in ("audio", "video")}
    found = []

    def edit(call, output):
        found.append(mono_modal_outputs(call, output))
        return output

    probe = UnimodalProbe(modules, module.head, edit)
    probe.start()
    output = module(batch)
    probe.close()
    z = module.features(batch)

    def f(*kept):
        return module.head(torch.cat([v if k in kept else 0 * v for k, v in z.items()], dim=1))

    nobody = f("text")
    audio = (output - f("video", "text") + f("audio", "text")) / 2 - (nobody - f()) / 2
    ((shares, rest),) = found
    torch.testing.assert_close(shares["audio"], audio)
    torch.testing.assert_close(rest, nobody - f())
    torch.testing.assert_close(sum(shares.values()) + rest, output)


def test_only_the_samples_that_have_a_modality_are_scored():
    (batch,) = make_batches(2, batches=1)
    mask = torch.arange(len(batch["label"])) % 3 > 0
    batch["audio"][~mask] = 50.0  # else a constant: it must count nowhere
    module = Late(2, [batch | {"present": {"audio": mask}}], **SETTINGS)
    with torch.no_grad():
        logits = torch.nn.functional.linear(
            module.features(batch)["audio"],
            module.head.weight[:, : WIDTHS["audio"][1]],
            module.head.bias / 2,
        )
    expected = true_class(logits.log_softmax(1), batch["label"])[mask].mean()
    callback = agm(2, present="present")
    fit(module, callback, max_steps=1)
    means = callback.state_dict()["method"]["means"]
    torch.testing.assert_close(means[0], expected)


@pytest.mark.filterwarnings("ignore:AGMCallback. no sample had audio in all of an epoch")
def test_a_modality_that_no_sample_has_is_left_alone():
    batches = [b | {"present": {"audio": torch.zeros(8, dtype=torch.bool)}} for b in make_batches()]
    plain = fit(Late(2, batches, **SETTINGS), None, max_epochs=EPOCHS)["module"]
    callback = agm(2, present="present")
    ours = fit(Late(2, batches, **SETTINGS), callback, max_epochs=EPOCHS)["module"]
    assert_close_weights(ours.epoch_weights, plain.epoch_weights, atol=1e-12)
    assert all(entry["coefficient"] == {"audio": 1.0, "video": 1.0} for entry in callback.history)
    state = callback.state_dict()["method"]
    assert state["steps"].tolist() == [0, EPOCHS * len(batches)]


class Tokens(Late):
    """A class for each of two tokens per sample."""

    def features(self, batch):
        return {name: getattr(self, f"{name}_encoder")(two(batch[name])) for name in self.names}

    def forward(self, batch):
        return self.head(torch.cat([*self.features(batch).values()], dim=-1))

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch).flatten(0, 1), two(batch["label"]).flatten())


def two(x):
    """Each sample beside another."""
    return torch.stack([x, x.flip(0)], dim=1)


def test_one_class_per_token_is_scored_as_one_per_sample():
    """Each sample stands there twice, so that all means are what they were."""
    batches = make_batches()
    by_token = fit(
        Tokens(2, batches, **SETTINGS),
        agm(2, target=lambda batch: two(batch["label"])),
        max_epochs=EPOCHS,
    )["module"]
    assert_close_weights(
        by_token.epoch_weights,
        fit(Late(2, batches, **SETTINGS), agm(2), max_epochs=EPOCHS)["weights"],
    )


def test_probabilities_of_the_classes_are_targets_too():
    batches = make_batches()
    soft = [b | {"soft": F.one_hot(b["label"], CLASSES).double()} for b in batches]
    ours = fit(Late(2, soft, **SETTINGS), agm(2, target="soft"), max_epochs=EPOCHS)["module"]
    assert_close_weights(
        ours.epoch_weights, fit(Late(2, batches, **SETTINGS), agm(2), max_epochs=EPOCHS)["weights"]
    )


def test_an_ignored_target_counts_nowhere():
    callbacks, modules = [], []
    for ignored in (-100, 1):
        batches = make_batches()
        for batch in batches:
            batch["label"][::3] = 1
            batch["marked"] = batch["label"].clone()
            batch["marked"][batch["label"] == 1] = ignored
        callbacks.append(agm(2, target="marked", ignore_index=ignored))
        modules.append(
            fit(Late(2, batches, **SETTINGS), callbacks[-1], max_epochs=EPOCHS)["module"]
        )
    assert_close_weights(modules[0].epoch_weights, modules[1].epoch_weights, atol=0)
    unmarked = fit(Late(2, batches, **SETTINGS), agm(2), max_epochs=EPOCHS)["module"]
    assert largest_difference(modules[0].epoch_weights[-1], unmarked.epoch_weights[-1]) > 1e-4


def test_every_forward_pass_of_a_batch_optimised_by_hand_is_edited():
    class Twice(Manual):
        repeats = 2

    batches = make_batches()
    doubled = [batch for batch in batches for _ in range(2)]
    by_hand = fit(Twice(modalities=2, batches=batches, **SETTINGS), agm(2), max_epochs=EPOCHS)[
        "module"
    ]
    ours = fit(Late(2, doubled, **SETTINGS), agm(2), max_epochs=EPOCHS)["module"]
    assert_close_weights(by_hand.epoch_weights, ours.epoch_weights)


class Pools(Late):
    """What an encoder returns goes into the head times two."""

    def features(self, batch):
        return {name: 2 * z for name, z in super().features(batch).items()}


class CallsTwice(Late):
    """An encoder is called twice in a batch."""

    def features(self, batch):
        super().features(batch)
        return super().features(batch)


@pytest.mark.parametrize("kind", [Pools, CallsTwice])
def test_inputs_at_zero_need_features_that_go_into_the_head_as_they_are(kind):
    with pytest.raises(ValueError, match="the encoder of audio once more, but what goes into"):
        fit(kind(), agm(2, zeroed="inputs"), max_epochs=1)
    assert fit(kind(), agm(2), max_epochs=1)["history"]


def test_inputs_at_zero_need_one_module_for_each_modality():
    paths = {"audio": ["audio_encoder.0", "audio_encoder.2"], "video": "video_encoder"}
    with pytest.raises(ValueError, match=r"`encoders\['audio'\]` names 2 modules"):
        fit(Late(), AGMCallback(paths, head="head", zeroed="inputs"), max_epochs=1)
    with pytest.raises(ValueError, match=r"`zeroed` must be one of \['features', 'inputs'\]"):
        agm(zeroed="nothing")


class TakesLengths(Late):
    """An encoder that takes its input by name, and lengths that are no part of it."""

    class Encoder(torch.nn.Module):
        def __init__(self, inputs, width):
            super().__init__()
            self.layer = torch.nn.Linear(inputs, width)
            self.seen = []

        def forward(self, *, x, lengths):
            self.seen.append((self.training, x.abs().sum().item(), lengths.sum().item()))
            return self.layer(x) / lengths[:, None]

    def make_encoder(self, inputs, width):
        return self.Encoder(inputs, width)

    def features(self, batch):
        lengths = torch.full((8,), 2.0, dtype=torch.float64)
        return {n: getattr(self, f"{n}_encoder")(x=batch[n], lengths=lengths) for n in self.names}


def test_only_the_input_is_set_to_zero_and_only_in_evaluation_mode():
    module = TakesLengths(batches=make_batches(batches=1))
    fit(module, agm(2, zeroed="inputs"), max_epochs=1)
    (trained, whole, n), (mode, again, m), (padded, nothing, k) = module.audio_encoder.seen
    assert (trained, mode, padded) == (True, False, False)
    assert whole == again > 0 == nothing
    assert n == m == k == 16.0
    assert module.audio_encoder.training
    fit(module, None, max_epochs=1)  # the hooks are gone
    assert len(module.audio_encoder.seen) == 4
