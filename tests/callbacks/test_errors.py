"""Bad input is one clear error before the first step."""

import pytest
import torch
from torch import nn

from helpers.modules import Late, encoder_paths, make_batches, snapshot
from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback, report_unimodal

PATHS = encoder_paths()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoders": {"audio": "audio_encoder"}}, "`encoders` must name two or more modalities"),
        ({"encoders": {}}, "`encoders` must name two or more modalities"),
        ({"beta": -0.1}, "`beta` must be from 0 to 80 .* but is -0.1"),
        ({"beta": float("nan")}, "`beta` must be from 0 to 80"),
        ({"beta": float("inf")}, "`beta` must be from 0 to 80"),
        ({"K": 1.0}, r"`K` must be in \[0, 1\)"),
        ({"K": -0.01}, r"`K` must be in \[0, 1\)"),
        ({"K": float("nan"), "window": "always"}, r"`K` must be in \[0, 1\)"),
        ({"window": "papre"}, "`window` must be one of .*'paper'.* but is 'papre'"),
        ({"window": (5, 2)}, "must have 0 <= start <= stop"),
        ({"score": "logprob"}, "`score` must be a callable or one of"),
        ({"gap": "mean"}, "`gap` must be one of .*'others', 'strongest'.* but is 'mean'"),
        ({"period": 0}, "`period` must be 'epoch' or a positive number"),
        ({"period": "step"}, "`period` must be 'epoch' or a positive number"),
        ({"period": True}, "`period` must be 'epoch' or a positive number"),
    ],
)
def test_arguments_out_of_range(settings, message):
    with pytest.raises(ValueError, match=message):
        InfoRegCallback(**{"encoders": PATHS} | settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoders": ["audio_encoder", "video_encoder"]}, "`encoders` must map modality names"),
        ({"encoders": {"a": "x", "b": 3}}, r"`encoders\['b'\]` must be an attribute path"),
        ({"encoders": {"a": "x", "b": []}}, r"`encoders\['b'\]` must be an attribute path"),
        ({"head": nn.Linear(1, 1)}, "`head` must be an attribute path"),
        ({"target": 1.5}, "`target` must be a key, an index or a callable"),
        ({"window": 3}, "`window` must be a name, a range"),
    ],
)
def test_arguments_of_another_kind(settings, message):
    with pytest.raises(TypeError, match=message):
        InfoRegCallback(**{"encoders": PATHS} | settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": {"audio": 0.95}}, "`strength` must hold one factor >= 0 for each of"),
        ({"strength": {"audio": 0.95, "video": -1.0}}, r"`strength\['video'\]` must be from 0"),
        ({"gate": "text"}, "`gate` must be one of"),
        ({"K": 2}, r"`K` must be in \[0, 1\)"),
    ],
)
def test_arguments_of_the_published_variant(settings, message):
    with pytest.raises(ValueError, match=message):
        InfoRegCallback.official(PATHS, head="head", **settings)


def frozen(module):
    module.video_encoder.requires_grad_(False)
    module.audio_encoder.requires_grad_(False)


def shared(module):
    module.video_encoder[2].bias = module.audio_encoder[0].bias = nn.Parameter(torch.zeros(4))


def test_every_error_of_setup_comes_before_the_first_step():
    cases = [
        ({"encoders": PATHS | {"video": "vidio"}}, None, r"`encoders\['video'\]` is 'vidio', but"),
        ({"head": "head.deeper"}, None, "`head` is 'head.deeper', but Late has no such attribute"),
        ({"head": "batches"}, None, "`head` is 'batches', which is a list and not an nn.Module"),
        ({}, frozen, "no encoder of .* has a trainable parameter: there is nothing to regulate"),
        ({}, shared, "share the parameter"),
        ({"encoders": PATHS | {"video": "audio_encoder.0"}}, None, "share the parameter"),
        (
            {"head": "audio_encoder.2"},
            None,
            "`head` shares the parameter 'weight' with the encoder",
        ),
        ({"target": "labels"}, None, r"`target='labels'` is not found: .* keys \['label', 'audio'"),
        ({"target": 3}, None, "`target=3` is not found"),
        ({"target": lambda batch: "no"}, None, "must lead to a tensor"),
        ({"target": "audio"}, None, r"the score needs \(B, C\) with two or more"),
        ({"score": lambda z, y: z}, None, "`score` must return one value per sample"),
        ({"window": lambda traces: {"audio": True}}, None, "`window` must decide for"),
    ]
    for settings, change, message in cases:
        module = Late()
        if change is not None:
            change(module)
        before = snapshot(module)
        callback = InfoRegCallback(**{"encoders": PATHS, "head": "head"} | settings)
        with pytest.raises(ValueError, match=message):
            quiet_trainer(callbacks=[callback]).fit(module)
        assert all(torch.equal(before[n], p) for n, p in snapshot(module).items()), message
        assert not module.audio_encoder._forward_hooks, message


class Other(Late):
    def training_step(self, batch, batch_idx):
        return self.audio_encoder(batch["audio"]).sum() + self.video_encoder(batch["video"]).sum()


class Misreporting(Other):
    def training_step(self, batch, batch_idx):
        report_unimodal(self, {"audio": batch["audio"]}, batch["label"])
        return super().training_step(batch, batch_idx)


class Dict(Late):
    class Head(nn.Linear):
        def forward(self, x):
            return {"logits": super().forward(x)}

    def make_head(self, width):
        return nn.Sequential(self.Head(width, 3))

    def training_step(self, batch, batch_idx):
        return self(batch)["logits"].sum()


class Narrow(Late):
    def make_head(self, width):
        return nn.Linear(width + 2, 3)


class Summed(Late):
    def make_head(self, width):
        return nn.Linear(4, 3)

    def forward(self, batch):
        features = self.features(batch)
        return self.head(features["audio"][:, :4] + features["video"])


@pytest.mark.parametrize(
    ("module", "head", "message"),
    [
        (Narrow, "head", "`head` takes features 11 wide, but the concatenated features of audio, "),
        (Summed, "head", "`head` cannot be split: .* mixes modalities.*`report_unimodal"),
        (Dict, "head", "`head` must return the logits as one tensor, but returns dict"),
        (Other, "head", "`head='head'` was not called in training_step"),
        (Other, None, "`head` was not given, and training_step made no `report_unimodal"),
        (Misreporting, None, r"`report_unimodal` got logits of \['audio'\], but"),
    ],
)
def test_heads_that_cannot_be_split(module, head, message):
    module = module()
    before = snapshot(module)
    with pytest.raises(ValueError, match=message):
        quiet_trainer(callbacks=[InfoRegCallback(PATHS, head=head)]).fit(module)
    assert all(torch.equal(before[n], p) for n, p in snapshot(module).items())


def test_the_width_is_checked_in_the_sanity_check_already():
    class Validated(Narrow):
        def validation_step(self, batch, batch_idx):
            self(batch)

        val_dataloader = Late.train_dataloader

        def training_step(self, batch, batch_idx):
            pytest.fail("training began")

    with pytest.raises(ValueError, match="`head` takes features 11 wide"):
        quiet_trainer(callbacks=[InfoRegCallback(PATHS, head="head")]).fit(Validated())


def test_the_published_trace_needs_layers():
    class Bare(Late):
        class Scale(nn.Module):
            def __init__(self, inputs, width):
                super().__init__()
                self.weight = nn.Parameter(torch.ones(inputs, width))

            def forward(self, x):
                return x @ self.weight

        def make_encoder(self, inputs, width):
            return self.Scale(inputs, width)

    with pytest.raises(ValueError, match="has no Conv or Linear layer"):
        quiet_trainer(callbacks=[InfoRegCallback.official(PATHS, head="head")]).fit(Bare())


def test_a_batch_that_is_no_container():
    class Bare(Late):
        def training_step(self, batch, batch_idx):
            pytest.fail("training began")

    batches = [b["audio"] for b in make_batches()]
    callback = InfoRegCallback(PATHS, head="head", target="label")
    with pytest.raises(ValueError, match="`target='label'` is not found: the batch is of type"):
        quiet_trainer(callbacks=[callback]).fit(Bare(batches=batches))
