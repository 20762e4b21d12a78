"""Features that no entry of ``encoders`` names: in no unimodal logit, and said at the start."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from helpers.modules import CLASSES, WIDTHS, Late, make_batches
from helpers.set_ups import always, fit, linear_share, lines_said, log_p, mean

OTHER = 6
"""How wide the features of nobody are."""


class WithOther(Late):
    """Concatenates something else with audio and video, in some order."""

    def __init__(self, order, kind="encoder", mlp=False, size=8, **settings):
        self.order, self.kind, self.mlp = order, kind, mlp
        super().__init__(
            lr=0.0, weight_decay=0.0, batches=make_batches(batches=2, size=size), **settings
        )
        with torch.random.fork_rng():
            torch.manual_seed(7)
            self.text_encoder = nn.Linear(6, OTHER).double()
            self.token = nn.Parameter(torch.randn(1, OTHER, dtype=torch.float64))
        if kind == "frozen":
            self.text_encoder.requires_grad_(False)

    def make_head(self, width):
        width += OTHER * self.order.count("other")
        if self.mlp:
            return nn.Sequential(nn.Linear(width, 8), nn.Tanh(), nn.Linear(8, CLASSES))
        return nn.Linear(width, CLASSES)

    def other(self, batch):
        if self.kind in ("encoder", "frozen"):
            return self.text_encoder(batch["audio"].cos())
        if self.kind == "metadata":
            return batch["audio"].cos()
        return self.token.expand(len(batch["label"]), -1)

    def blocks(self, batch):
        features = self.features(batch)
        return [(n, self.other(batch) if n == "other" else features[n]) for n in self.order]

    def forward(self, batch):
        return self.head(torch.cat([z for _, z in self.blocks(batch)], dim=1))

    def reference(self, name):
        """The score of a modality: a head that never saw the columns of the others."""
        scores = []
        for batch in self.batches:
            blocks = self.blocks(batch)
            if self.mlp:
                only = [z if n == name else torch.zeros_like(z) for n, z in blocks]
                logits = self.head(torch.cat(only, 1))
            else:
                first = 0
                for n, z in blocks:
                    if n == name:
                        logits = linear_share(self.head, z, first, 2)
                    first += z.shape[1]
            scores.append(log_p(logits, batch["label"]))
        return mean(scores)


ORDERS = [*itertools.permutations(["audio", "video", "other"])]
TWICE = [("other", "audio", "other", "video"), ("other", "audio", "video", "other")]


@pytest.mark.parametrize("mlp", [False, True], ids=["linear", "mlp"])
@pytest.mark.parametrize("kind", ["encoder", "metadata", "token", "frozen"])
@pytest.mark.parametrize("order", ORDERS + TWICE, ids="-".join)
def test_the_scores_are_those_of_a_head_without_these_columns(order, kind, mlp):
    module, callback = WithOther(order, kind, mlp), always()
    with lines_said() as lines:
        fit(module, callback, max_epochs=1)
    expected = {name: module.reference(name) for name in ("audio", "video")}
    assert callback.history[0]["score"] == pytest.approx(expected, rel=1e-9)

    widths = {"audio": 5, "video": 4, "other": OTHER}
    said = [line for line in lines if "belong to no encoder" in line]
    assert len(said) == 1, "once"
    first = 0
    for name in order:
        columns = f"columns {first} to {first + widths[name] - 1}"
        assert (columns in said[0]) == (name == "other")
        first += widths[name]


def test_a_single_sample_in_a_batch_is_no_exception():
    for kind in ("encoder", "metadata"):
        module, callback = WithOther(("audio", "other", "video"), kind, size=1), always()
        fit(module, callback, max_epochs=1)
        expected = {name: module.reference(name) for name in ("audio", "video")}
        assert callback.history[0]["score"] == pytest.approx(expected, rel=1e-9)


def test_nothing_is_said_where_every_column_has_an_owner():
    with lines_said() as lines:
        fit(Late(), always(), max_epochs=1)
    assert lines
    assert not [line for line in lines if "belong to no encoder" in line]


class OwnArguments(Late):
    """A head that takes each modality, and something else, as an argument of its own."""

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.audio = nn.Linear(WIDTHS["audio"][1], CLASSES)
            self.video = nn.Linear(WIDTHS["video"][1], CLASSES)
            self.other = nn.Linear(OTHER, CLASSES)

        def forward(self, audio, other, video=None):
            return (self.audio(audio) + self.video(video)).tanh() + self.other(other).sin()

    def __init__(self, other, size=8):
        super().__init__(lr=0.0, weight_decay=0.0, batches=make_batches(batches=1, size=size))
        self.kind = other
        self.text_encoder = nn.Linear(6, OTHER).double()
        self.token = nn.Parameter(torch.randn(1, OTHER, dtype=torch.float64))

    def make_head(self, width):
        return self.Head()

    def other(self, batch):
        return {
            "encoder": lambda: self.text_encoder(batch["audio"].cos()),
            "frozen": lambda: self.text_encoder(batch["audio"].cos()).detach(),
            "token": lambda: self.token.expand(len(batch["label"]), -1),
            "mask": lambda: (batch["audio"] > 0).double(),
            "attention": lambda: (
                torch.zeros_like(batch["audio"])
                .masked_fill(batch["audio"] > 0, -torch.inf)
                .clamp(min=-1e9)
            ),
            "constant": lambda: torch.linspace(0, 1, OTHER).double().repeat(len(batch["label"]), 1),
        }[self.kind]()

    def forward(self, batch):
        z = self.features(batch)
        return self.head(z["audio"], self.other(batch), video=z["video"])


KINDS = ["encoder", "frozen", "token", "mask", "attention", "constant"]


@pytest.mark.parametrize(
    ("kind", "size"),
    # One sample alone does not tell features without a graph from a constant.
    [(k, 8) for k in KINDS] + [(k, 1) for k in KINDS if k not in ("frozen", "constant")],
)
def test_features_of_nobody_as_an_argument_are_left_out_and_masks_and_tokens_stay(kind, size):
    torch.manual_seed(0)
    module, callback = OwnArguments(kind, size), always()
    with lines_said() as lines:
        fit(module, callback, max_epochs=1)
    (batch,) = module.batches
    z, other = module.features(batch), module.other(batch)
    leaves_out = kind in ("encoder", "frozen")
    kept = torch.zeros_like(other) if leaves_out else other
    none = {name: torch.zeros_like(x) for name, x in z.items()}
    expected = {
        "audio": log_p(module.head(z["audio"], kept, none["video"]), batch["label"]),
        "video": log_p(module.head(none["audio"], kept, z["video"]), batch["label"]),
    }
    assert callback.history[0]["score"] == pytest.approx(expected, rel=1e-9)
    said = [line for line in lines if f"an input of shape ({size}, {OTHER})" in line]
    assert len(said) == leaves_out


def test_a_mask_that_is_boolean_or_of_indices_stays():
    class Masked(Late):
        class Head(nn.Linear):
            def forward(self, z, mask, positions):
                return super().forward(z) * mask + positions.unsqueeze(1)

        def make_head(self, width):
            return self.Head(width, CLASSES)

        def forward(self, batch):
            mask = batch["audio"][:, :CLASSES] > 0
            features = torch.cat([*self.features(batch).values()], 1)
            return self.head(features, mask, torch.arange(len(mask)))

    module, callback = Masked(lr=0.0, batches=make_batches(batches=1)), always()
    fit(module, callback, max_epochs=1)
    (batch,) = module.batches
    mask = batch["audio"][:, :CLASSES] > 0
    features = module.features(batch)
    for name in features:
        only = [z if n == name else torch.zeros_like(z) for n, z in features.items()]
        logits = F.linear(torch.cat(only, 1), module.head.weight, module.head.bias) * mask
        logits = logits + torch.arange(len(mask)).unsqueeze(1)
        assert callback.history[0]["score"][name] == pytest.approx(log_p(logits, batch["label"]))


class ClassToken(Late):
    """A head over a learnt class token and a token of each modality, as transformers have it."""

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix = nn.MultiheadAttention(4, 2, batch_first=True)
            self.out = nn.Linear(4, CLASSES)

        def forward(self, tokens):
            return self.out(tokens[:, 0] + self.mix(tokens, tokens, tokens)[0][:, 0])

    def make_head(self, width):
        self.class_token = nn.Parameter(torch.randn(4))
        return self.Head()

    def tokens(self, batch):
        features = self.features(batch)
        audio, video = features["audio"][:, None, :4], features["video"][:, None, :4]
        return self.class_token.expand(len(audio), 1, 4), audio, video

    def forward(self, batch):
        return self.head(torch.cat(self.tokens(batch), 1))


def test_a_learnt_class_token_beside_the_modalities_tokens_stays():
    module = ClassToken(batches=make_batches(batches=1), lr=0.0)
    callback = always()
    fit(module, callback, max_epochs=1)
    (batch,) = module.batches
    token, audio, video = (z.detach() for z in module.tokens(batch))
    for name, alone in (("audio", (audio, video * 0)), ("video", (audio * 0, video))):
        logits = module.head(torch.cat([token, *alone], 1)).detach()
        expected = -float(F.cross_entropy(logits, batch["label"]))
        assert callback.history[0]["score"][name] == pytest.approx(expected, rel=1e-12)
