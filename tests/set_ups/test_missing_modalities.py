"""Batches, and single samples, without a modality: scores and traces are of those that have it."""

import itertools
from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.modules import CLASSES, WIDTHS, Late, assert_same_weights, make_batches, snapshot
from helpers.set_ups import always, fit, is_finite, linear_share, log_p, mean

PLACES = ["zeros", "constant", "token", "pad", "in vain", "wrapper"]


def lacking(*of_batches, modalities=2, size=8, seed=0):
    """A batch for each set of names: that of the modalities it lacks."""
    made = make_batches(modalities, len(of_batches), size, seed)
    for batch, names in zip(made, of_batches, strict=True):
        for name in names:
            del batch[name]
    return made


class Wrapper(nn.Module):
    """Named in ``encoders``, and never called itself."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, x):
        raise AssertionError("the training step calls the backbone")


class Missing(Late):
    """Puts something in the place of the features of a modality that a batch lacks."""

    def __init__(self, batches, place="zeros", mlp=False, modalities=2, **settings):
        self.mlp, self.place = mlp, place
        settings = {"lr": 0.0, "weight_decay": 0.0} | settings
        super().__init__(modalities, batches, **settings)
        with torch.random.fork_rng():
            torch.manual_seed(5)
            self.tokens = nn.ParameterDict(
                {n: torch.randn(1, WIDTHS[n][1], dtype=torch.float64) for n in self.names}
            )

    def make_encoder(self, inputs, width):
        made = super().make_encoder(inputs, width)
        return Wrapper(made) if self.place == "wrapper" else made

    def make_head(self, width):
        if self.mlp:
            return nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, CLASSES))
        return nn.Linear(width, CLASSES)

    def encode(self, name, x):
        encoder = getattr(self, f"{name}_encoder")
        return encoder.backbone(x) if self.place == "wrapper" else encoder(x)

    def in_place(self, name, samples):
        width = WIDTHS[name][1]
        if self.place == "token":
            return self.tokens[name].expand(samples, -1)
        value = 0.3 if self.place == "constant" else 0.0
        if self.place == "in vain":
            like = self.encode(name, torch.ones(samples, WIDTHS[name][0]).double())
            return torch.zeros_like(like)
        return torch.full((samples, width), value, dtype=torch.float64)

    def features(self, batch):
        samples = len(batch["label"])
        return {
            name: self.encode(name, batch[name]) if name in batch else self.in_place(name, samples)
            for name in self.names
        }

    def forward(self, batch):
        if self.place == "pad":
            z = torch.cat([self.encode(n, batch[n]) for n in self.names if n in batch], 1)
            missing = self.head_width() - z.shape[1]
            return self.head(F.pad(z, (missing, 0) if "audio" not in batch else (0, missing)))
        return self.head(torch.cat([*self.features(batch).values()], 1))

    def head_width(self):
        return sum(WIDTHS[name][1] for name in self.names)

    def logits_of(self, name, batch):
        z = self.features(batch)
        if self.mlp:
            only = [x if n == name else torch.zeros_like(x) for n, x in z.items()]
            return self.head(torch.cat(only, 1))
        first = sum(WIDTHS[n][1] for n in self.names[: self.names.index(name)])
        return linear_share(self.head, z[name], first, len(self.names))

    def score(self, name):
        return mean([log_p(self.logits_of(name, b), b["label"]) for b in self.batches if name in b])


NOTHING, AUDIO, VIDEO = (), ("audio",), ("video",)
SEQUENCES = [
    (AUDIO, NOTHING, VIDEO, NOTHING),
    (NOTHING, AUDIO, NOTHING, VIDEO),
    (VIDEO, AUDIO, NOTHING, NOTHING),
    (NOTHING, NOTHING, VIDEO, AUDIO),
]


@pytest.mark.parametrize(
    ("mlp", "size"), [(False, 1), (False, 5), (True, 5)], ids=["one", "linear", "mlp"]
)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("sequence", SEQUENCES, ids=range(len(SEQUENCES)))
def test_a_score_is_of_the_batches_that_have_the_modality_in_any_order(sequence, place, mlp, size):
    module, callback = Missing(lacking(*sequence, size=size), place, mlp), always()
    fit(module, callback)
    expected = {name: module.score(name) for name in module.names}
    for entry in callback.history:
        assert entry["score"] == pytest.approx(expected, rel=1e-9)
        assert entry["skipped"] == 0
    assert is_finite(callback.history)


@pytest.mark.parametrize("place", ["zeros", "token", "wrapper"])
def test_the_trace_is_of_the_batches_that_have_the_modality(place):
    whole = always()
    fit(Missing(lacking(AUDIO, NOTHING, VIDEO, NOTHING), place), whole)
    for name, indices in {"audio": (1, 2, 3), "video": (0, 1, 3)}.items():
        traces = []
        for index in indices:
            alone = always()
            batches = lacking(AUDIO, NOTHING, VIDEO, NOTHING)[index : index + 1]
            lacks_one = pytest.warns(UserWarning, match="no sample had")
            with lacks_one if index in (0, 2) else nullcontext():
                fit(Missing(batches, place), alone)
            traces.append(alone.history[0]["trace"][name])
        assert whole.history[0]["trace"][name] == pytest.approx(mean(traces), rel=1e-9)


@pytest.mark.parametrize("mlp", [False, True], ids=["linear", "mlp"])
@pytest.mark.parametrize(
    "sequence",
    [*itertools.permutations([("audio", "video"), ("text",), ("video", "text"), ()])][::5],
    ids=str,
)
def test_three_modalities_of_which_up_to_two_are_absent(sequence, mlp):
    batches = lacking(*sequence, modalities=3, size=6)
    module, callback = Missing(batches, "token", mlp, modalities=3), always(3)
    fit(module, callback)
    expected = {name: module.score(name) for name in module.names}
    assert callback.history[0]["score"] == pytest.approx(expected, rel=1e-9)
    assert is_finite(callback.history)


class Tokens(Late):
    """A head over tokens, of which a batch has fewer where it lacks a modality."""

    class Head(nn.Linear):
        def forward(self, tokens):
            return super().forward(tokens.tanh().sum(1))

    def make_head(self, width):
        return self.Head(4, CLASSES)

    def tokens(self, batch):
        return {
            name: getattr(self, f"{name}_encoder")(batch[name])[:, None, :4]
            for name in self.names
            if name in batch
        }

    def forward(self, batch):
        return self.head(torch.cat([*self.tokens(batch).values()], dim=1))


@pytest.mark.parametrize("sequence", SEQUENCES, ids=range(len(SEQUENCES)))
def test_a_concatenation_that_is_narrower_without_a_modality(sequence):
    module, callback = Tokens(batches=lacking(*sequence), lr=0.0, weight_decay=0.0), always()
    fit(module, callback)
    scores = {name: [] for name in module.names}
    for batch in module.batches:
        tokens = module.tokens(batch)
        for name in tokens:
            only = [x if n == name else torch.zeros_like(x) for n, x in tokens.items()]
            scores[name].append(log_p(module.head(torch.cat(only, 1)), batch["label"]))
    expected = {name: mean(of) for name, of in scores.items()}
    assert callback.history[0]["score"] == pytest.approx(expected, rel=1e-9)


def with_masks(batches, share=0.6, seed=0, names=("audio", "video")):
    """Single samples lack a modality: at random, but never all, and never none."""
    generator = torch.Generator().manual_seed(seed)
    for batch in batches:
        size = len(batch["label"])
        masks = {n: torch.rand(size, generator=generator) < share for n in names}
        for index, name in enumerate(names):
            masks[name][index], masks[name][-1 - index] = True, False
        batch["present"] = masks
    return batches


class Masked(Missing):
    """Puts a learnt token in the place of single samples' features."""

    def features(self, batch):
        found = {}
        for name in self.names:
            z = self.encode(name, batch[name])
            has = batch["present"].get(name, torch.ones(len(z), dtype=torch.bool))[:, None]
            found[name] = torch.where(has, z, self.in_place(name, len(z)))
        return found

    def score(self, name):
        return mean(
            [
                log_p(self.logits_of(name, b), b["label"], b["present"][name])
                for b in self.batches
                if b["present"][name].any()
            ]
        )


@pytest.mark.parametrize("mlp", [False, True], ids=["linear", "mlp"])
@pytest.mark.parametrize("place", ["zeros", "token"])
@pytest.mark.parametrize(
    "present",
    ["present", lambda batch: batch["present"], lambda batch: dict(batch["present"])],
    ids=["key", "callable", "made"],
)
def test_a_score_is_of_the_samples_that_have_the_modality(present, place, mlp):
    module, callback = Masked(with_masks(make_batches()), place, mlp), always(present=present)
    fit(module, callback)
    expected = {name: module.score(name) for name in module.names}
    assert callback.history[0]["score"] == pytest.approx(expected, rel=1e-9)
    assert expected != pytest.approx(
        {name: Missing.score(module, name) for name in module.names}, rel=1e-3
    ), "the masks must matter"


def test_the_masks_may_stand_at_an_index():
    class Tuples(Masked):
        def training_step(self, batch, batch_idx):
            audio, masks, video, label = batch
            batch = {"audio": audio, "video": video, "label": label, "present": masks}
            return super().training_step(batch, batch_idx)

    batches = with_masks(make_batches())
    ours, theirs = always(present=1), always(present="present")
    tuples = [(b["audio"], b["present"], b["video"], b["label"]) for b in batches]
    fit(Tuples(tuples), ours), fit(Masked(batches), theirs)
    assert ours.history == theirs.history


@pytest.mark.parametrize("absent", [1, 3, 6])
def test_samples_without_a_modality_do_not_change_its_trace(absent):
    """The gradient is a mean over the batch: it shrinks, and the trace must not."""
    (batch,) = make_batches(batches=1, size=10)
    has = torch.arange(10) >= absent
    batch["present"] = {"audio": has}
    kept = {key: value[has] for key, value in batch.items() if key != "present"}
    ours, theirs = always(present="present"), always()
    fit(Masked([batch], "zeros"), ours), fit(Missing([kept]), theirs)
    assert ours.history[0]["trace"]["audio"] == pytest.approx(
        theirs.history[0]["trace"]["audio"], rel=1e-9
    )
    assert ours.history[0]["score"]["audio"] == pytest.approx(
        theirs.history[0]["score"]["audio"], rel=1e-9
    )


def test_a_mask_of_no_sample_is_a_batch_without_the_modality():
    """Though its encoder is called, and its parameters have a gradient."""
    batches = make_batches()
    for index, batch in enumerate(batches):
        has = torch.full((8,), index != 1)
        batch["present"] = {"audio": has, "video": torch.ones(8, dtype=torch.bool)}
    ours, theirs = always(present="present"), always()
    fit(Masked(batches), ours)
    fit(Missing(lacking(NOTHING, AUDIO, NOTHING, NOTHING)), theirs)
    for quantity in ("score", "trace"):
        assert ours.history[0][quantity] == pytest.approx(theirs.history[0][quantity], rel=1e-9)


@pytest.mark.parametrize("place", ["zeros", "token", "in vain", "wrapper"])
def test_a_modality_is_not_pulled_in_a_step_that_it_is_absent_from(place):
    """Gradients stay zero tensors, as a module may ask: a pull would move the weights."""

    class Watching(Missing):
        def __init__(self, *args):
            super().__init__(*args, lr=0.1, momentum=0.0)
            self.unchanged = []

        def optimizer_zero_grad(self, epoch, batch_idx, optimizer):
            optimizer.zero_grad(set_to_none=False)

        def on_train_batch_start(self, batch, batch_idx):
            self.before = snapshot(self.audio_encoder)

        def on_train_batch_end(self, outputs, batch, batch_idx):
            after = snapshot(self.audio_encoder)
            self.unchanged.append(all(torch.equal(after[n], w) for n, w in self.before.items()))

    module = Watching(lacking(NOTHING, AUDIO, NOTHING, AUDIO), place)
    callback = always()
    fit(module, callback)
    assert module.unchanged == [False, True, False, True] * 2
    assert callback.history[1]["penalty"]["audio"] > 0, "in the others it is"


def test_accumulated_batches_are_one_large_batch():
    """Samples count alike, whichever micro-batch they are in."""
    halves = lacking(NOTHING, AUDIO, AUDIO, VIDEO)
    ours, theirs = always(), always(present="present")
    fit(Missing(halves), ours, accumulate_grad_batches=2)
    whole = []
    for pair in (halves[:2], halves[2:]):
        batch = {"label": torch.cat([b["label"] for b in pair]), "present": {}}
        for name in ("audio", "video"):
            empty = torch.zeros(8, WIDTHS[name][0], dtype=torch.float64)
            batch[name] = torch.cat([b.get(name, empty) for b in pair])
            batch["present"][name] = torch.tensor([name in b for b in pair]).repeat_interleave(8)
        whole.append(batch)
    fit(Masked(whole), theirs)
    for ours_entry, theirs_entry in zip(ours.history, theirs.history, strict=True):
        for quantity in ("score", "trace", "gap", "alpha"):
            assert ours_entry[quantity] == pytest.approx(theirs_entry[quantity], rel=1e-9)


def test_a_resumed_run_is_the_uninterrupted_one(tmp_path):
    batches = lacking(AUDIO, NOTHING, VIDEO, NOTHING)
    whole, first, second = always(), always(), always()
    module = Missing(batches, "token", lr=0.1)
    fit(module, whole, max_epochs=4)
    fit(Missing(batches, "token", lr=0.1), first, max_epochs=2).save_checkpoint(tmp_path / "c.ckpt")
    resumed = Missing(batches, "token", lr=0.1)
    fit(resumed, second, max_epochs=4, ckpt_path=tmp_path / "c.ckpt")
    assert second.history == whole.history
    assert_same_weights(snapshot(resumed), snapshot(module))


def test_a_validation_scores_what_is_there():
    class Validated(Missing):
        def validation_step(self, batch, batch_idx):
            self(batch)

        def val_dataloader(self):
            return torch.utils.data.DataLoader(lacking(NOTHING, AUDIO, seed=9), batch_size=None)

    module = Validated(lacking(NOTHING, AUDIO, VIDEO))
    trainer = fit(module, always())
    batches = lacking(NOTHING, AUDIO, seed=9)
    for name in ("audio", "video"):
        expected = mean(
            [log_p(module.logits_of(name, b), b["label"]) for b in batches if name in b]
        )
        found = float(trainer.callback_metrics[f"val/inforeg/score/{name}"])
        assert found == pytest.approx(expected, rel=1e-6)


def test_a_modality_that_no_batch_has_is_warned_of_and_the_rest_goes_on():
    callback = always()
    with pytest.warns(UserWarning, match="no sample had audio in all of an epoch"):
        fit(Missing(lacking(AUDIO, AUDIO)), callback)
    assert callback.history[0]["score"]["audio"] is None
    assert callback.history[0]["trace"]["video"] > 0
    assert is_finite(callback.history)


@pytest.mark.parametrize(
    ("present", "message"),
    [
        (lambda batch: batch["label"], "must lead to a mapping from some of"),
        (lambda batch: {"audoi": batch["label"] > 0}, "must lead to a mapping from some of"),
        (lambda batch: {"audio": batch["label"]}, r"must give audio a tensor of shape \(B,\)"),
        (lambda batch: {"audio": torch.ones(3, dtype=torch.bool)}, "gives audio a mask of 3"),
        ("there", "`present='there'` is not found"),
    ],
)
def test_a_wrong_present_is_one_clear_error(present, message):
    with pytest.raises(ValueError, match=message):
        fit(Late(), always(present=present))
