"""Frozen encoders beside trained ones: measured and compared, never regulated, never changed."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.modules import CLASSES, Late, assert_same_weights, make_batches, snapshot
from helpers.set_ups import always, fit, is_finite, linear_share, lines_said, log_p, mean

BETWEEN = ["nothing", "pooled", "pooled inside", "flattened", "normalized", "in place", "projected"]
AROUND = ["grad", "no_grad", "inference", "eval"]


class Pretrained(nn.Module):
    """Returns a token sequence, as a text tower does."""

    def __init__(self, inputs, width, tokens):
        super().__init__()
        self.tokens = tokens
        self.body = nn.Sequential(nn.Linear(inputs, tokens * width), nn.Dropout(0.0), nn.Tanh())

    def forward(self, x):
        z = self.body(x)
        return z.view(len(z), self.tokens, -1) if self.tokens > 1 else z


class HalfFrozen(Late):
    """A frozen audio encoder and a trained video encoder."""

    def __init__(self, between="nothing", around="grad", mlp=False, metadata=False, **settings):
        self.between, self.around, self.mlp = between, around, mlp
        self.metadata = metadata
        super().__init__(**settings)
        self.audio_encoder.requires_grad_(False)
        with torch.random.fork_rng():
            torch.manual_seed(2)
            self.projection = nn.Linear(5, 5).double()

    def make_encoder(self, inputs, width):
        if inputs != 6 or self.between in ("nothing", "in place", "projected"):
            return super().make_encoder(inputs, width)
        return Pretrained(inputs, 1 if self.between == "flattened" else width, 5)

    def make_head(self, width):
        width += 2 * self.metadata
        if self.mlp:
            return nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, CLASSES))
        return nn.Linear(width, CLASSES)

    def on_train_start(self):
        if self.around == "eval":
            self.audio_encoder.eval()

    def on_train_epoch_start(self):
        self.on_train_start()

    def encode(self, x):
        contexts = {"no_grad": torch.no_grad, "inference": torch.inference_mode}
        with contexts.get(self.around, torch.enable_grad)():
            z = self.audio_encoder(x)
            if self.between == "pooled inside":
                z = z.mean(1)
        if self.between == "in place":
            return z.clone().mul_(0.5) if self.around == "inference" else z.mul_(0.5)
        return {
            "pooled": lambda: z.mean(1),
            "flattened": lambda: z.flatten(1),
            "normalized": lambda: F.normalize(z.amax(1), dim=1),
            "projected": lambda: self.projection(z),
        }.get(self.between, lambda: z)()

    def features(self, batch):
        features = {"audio": self.encode(batch["audio"])}
        if self.metadata:
            features["metadata"] = batch["video"][:, :2].cos()
        return features | {"video": self.video_encoder(batch["video"])}

    def reference(self, name):
        scores = []
        for batch in self.batches:
            z = self.features(batch)
            if self.mlp:
                only = [x if n == name else torch.zeros_like(x) for n, x in z.items()]
                logits = self.head(torch.cat(only, 1))
            else:
                before = [*z][: [*z].index(name)]
                logits = linear_share(self.head, z[name], sum(z[n].shape[1] for n in before), 2)
            scores.append(log_p(logits, batch["label"]))
        return mean(scores)


def still(**settings):
    return HalfFrozen(**{"lr": 0.0, "weight_decay": 0.0} | settings)


@pytest.mark.parametrize("mlp", [False, True], ids=["linear", "mlp"])
@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("between", BETWEEN)
def test_a_frozen_encoder_is_scored_and_not_regulated(between, around, mlp):
    if around == "inference" and between == "projected":
        around = "no_grad"  # torch refuses to train on tensors of inference mode
    module, callback = still(between=between, around=around, mlp=mlp), always()
    fit(module, callback)
    expected = {name: module.reference(name) for name in module.names}
    for entry in callback.history:
        assert entry["score"] == pytest.approx(expected, rel=1e-9)
        assert entry["trace"]["audio"] == entry["alpha"]["audio"] == entry["penalty"]["audio"] == 0
        assert entry["trace"]["video"] > 0
    assert is_finite(callback.history)


@pytest.mark.parametrize("between", ["nothing", "pooled", "flattened", "in place", "projected"])
def test_metadata_beside_it_are_told_apart(between):
    module, callback = still(between=between, metadata=True), always()
    fit(module, callback)
    expected = {name: module.reference(name) for name in module.names}
    assert callback.history[0]["score"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("between", BETWEEN)
def test_measuring_changes_no_bit(between, around):
    if around == "inference" and between == "projected":
        around = "no_grad"
    ours, theirs = HalfFrozen(between, around), HalfFrozen(between, around)
    fit(ours, always(window="never")), fit(theirs, None)
    assert_same_weights(snapshot(ours), snapshot(theirs))


def test_the_trained_one_is_regulated_where_it_is_the_stronger():
    class Swapped(Late):
        def __init__(self):
            super().__init__()
            self.video_encoder.requires_grad_(False)

    ours, module, plain = always(), Swapped(), Swapped()
    fit(module, ours), fit(plain, None)
    assert ours.history[1]["penalty"]["audio"] > 0
    assert not torch.equal(module.audio_encoder[0].weight, plain.audio_encoder[0].weight)
    assert torch.equal(module.video_encoder[0].weight, plain.video_encoder[0].weight)


@pytest.mark.parametrize("first", [0, 1, 2])
def test_batches_without_the_trained_modality_in_any_order(first):
    """The frozen features are pooled, so that only a mark tells them."""

    class Missing(HalfFrozen):
        def features(self, batch):
            if "video" in batch:
                return super().features(batch)
            empty = torch.zeros(len(batch["label"]), 4, dtype=torch.float64)
            return {"audio": self.encode(batch["audio"]), "video": empty}

    batches = make_batches(batches=3)
    del batches[first]["video"]
    module = Missing("pooled", "no_grad", batches=batches, lr=0.0, weight_decay=0.0)
    callback = always()
    fit(module, callback)
    expected = mean(
        [
            log_p(linear_share(module.head, module.encode(b["audio"]), 0, 2), b["label"])
            for b in batches
            if "video" in b  # a step without a gradient of any encoder is none of ours
        ]
    )
    assert callback.history[0]["score"]["audio"] == pytest.approx(expected, rel=1e-9)


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf Tensor:UserWarning"
)
@pytest.mark.parametrize("what", ["encoder", "in place", "module"])
def test_a_frozen_encoder_that_is_compiled(what):
    module, expected = still(), still()
    ours, theirs = always(), always()
    if what == "encoder":
        module.audio_encoder = torch.compile(module.audio_encoder, backend="eager")
    elif what == "in place":
        module.audio_encoder.compile(backend="eager")
    whole = torch.compile(module, backend="eager") if what == "module" else module
    fit(whole, ours), fit(expected, theirs)
    for mine, other in zip(ours.history, theirs.history, strict=True):
        assert mine["score"] == pytest.approx(other["score"], rel=1e-9)


def test_three_modalities_of_which_two_are_frozen():
    class TwoFrozen(Late):
        def __init__(self):
            super().__init__(3)
            self.audio_encoder.requires_grad_(False)
            self.text_encoder.requires_grad_(False)

    callback = always(3)
    with lines_said() as lines:
        fit(TwoFrozen(), callback)
    assert len([line for line in lines if "frozen: compared, never regulated" in line]) == 2
    assert all(score is not None for score in callback.history[0]["score"].values())


def test_only_nothing_to_regulate_is_an_error():
    class AllFrozen(Late):
        def __init__(self):
            super().__init__()
            self.audio_encoder.requires_grad_(False)
            self.video_encoder.requires_grad_(False)

    with pytest.raises(ValueError, match=r"no encoder of \['audio', 'video'\] has a trainable"):
        fit(AllFrozen(), always())


def test_a_modality_without_parameters_is_compared():
    """Features that were made before training: the encoder is nn.Identity()."""

    class Ready(Late):
        def make_encoder(self, inputs, width):
            return nn.Identity() if inputs == 6 else super().make_encoder(inputs, width)

        def make_head(self, width):
            return nn.Linear(width + 1, CLASSES)

    callback = always()
    fit(Ready(), callback)
    assert callback.history[0]["score"]["audio"] < 0
    assert callback.history[0]["trace"]["audio"] == 0
