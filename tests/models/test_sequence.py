"""The transformers for sequences: padding, read-out, joint attention and its masked logits."""

import pytest
import torch
import torch.nn.functional as F

from helpers.trainers import quiet_trainer
from inforeg_lightning import InfoRegCallback
from inforeg_lightning.data.loading.in_memory import in_memory_loader
from inforeg_lightning.models import (
    FrameEncoder,
    JointAttention,
    JointAttentionClassifier,
    LateFusionClassifier,
    SequenceTransformer,
)

# Lightning 2.6 on newer torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

WIDTHS = {"text": 3, "audio": 2, "vision": 4}


def encoder(**settings):
    torch.manual_seed(0)
    return SequenceTransformer(3, 6, **{"heads": 2, "layers": 2, "feedforward": 8} | settings)


def joint(**settings):
    torch.manual_seed(0)
    encoders = {m: FrameEncoder(width, 8, max_frames=5) for m, width in WIDTHS.items()}
    return JointAttentionClassifier(encoders, 2, feedforward=8, **settings)


def make_batch(size=6, frames=5):
    torch.manual_seed(1)
    batch = {m: torch.randn(size, frames, width) for m, width in WIDTHS.items()}
    for values in batch.values():
        values[0, 3:] = 0
    return batch | {"label": torch.arange(size) % 2}


def test_padding_on_either_side_changes_nothing():
    model, x = encoder().eval(), make_batch()["text"][1:]
    for pad in ((0, 0, 0, 2), (0, 0, 3, 0), (0, 0, 1, 2)):
        torch.testing.assert_close(model(F.pad(x, pad)), model(x))


def test_every_real_frame_has_a_say_and_the_last_is_read_out():
    model, x = encoder(layers=1, dropout=0.0), make_batch()["text"][1:2]
    before = model(x)
    for step in range(x.shape[1]):
        other = x.clone()
        other[:, step] += 1
        assert not torch.allclose(model(other), before)
    expected = model.transformer(model.project(x))[:, -1]
    torch.testing.assert_close(before, expected)


def test_padding_alone_is_finite_and_so_are_its_gradients():
    model = encoder()
    model(torch.zeros(2, 4, 3)).sum().backward()
    assert all(p.grad.isfinite().all() for p in model.parameters())


def test_has_the_published_sizes():
    model = SequenceTransformer(20, 40)
    layer = model.transformer.layers[0]
    assert (len(model.transformer.layers), layer.self_attn.num_heads) == (5, 5)
    assert (layer.linear1.out_features, layer.dropout.p) == (2048, 0.1)
    assert (model.out_features, model.project.bias) == (40, None)


def test_it_is_an_encoder_of_late_fusion_with_adamw():
    encoders = {m: SequenceTransformer(w, 4, 2, 1, 8) for m, w in WIDTHS.items()}
    model = LateFusionClassifier(encoders, 2, optimizer="adamw", lr=0.01, weight_decay=0.2)
    assert model(make_batch()).shape == (6, 2)
    optimizer = model.configure_optimizers()["optimizer"]
    assert type(optimizer) is torch.optim.AdamW
    assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (0.01, 0.2)


@pytest.mark.parametrize("alone", WIDTHS)
def test_masked_logits_do_not_depend_on_other_modalities(alone):
    model, batch = joint().eval(), make_batch()
    before = model.unimodal(model.features(batch))[alone]
    others = {m: torch.randn(6, 5, w) for m, w in WIDTHS.items() if m != alone}
    after = model.unimodal(model.features(batch | others))
    assert torch.equal(after[alone], before)
    changed = model.unimodal(model.features(batch | {alone: torch.randn_like(batch[alone])}))
    assert not torch.allclose(changed[alone], before)
    assert not torch.allclose(model(batch | others), model(batch))


def test_masking_a_modality_is_leaving_it_out():
    torch.manual_seed(0)
    head = JointAttention([8, 8], 3, feedforward=8, dropout=0.0)
    a, b = torch.randn(4, 5, 8), torch.randn(4, 2, 8)
    together = torch.cat([head.readout.expand(4, -1, -1), a], dim=1)
    expected = head.out(head.transformer(together)[:, 0])
    torch.testing.assert_close(head([a, torch.zeros_like(b)]), expected)


def test_padding_of_a_frame_encoder_stays_zero():
    tokens = FrameEncoder(3, 8, max_frames=5)(make_batch()["text"])
    assert (tokens[0, 3:] == 0).all()
    assert (tokens[1:] != 0).any(dim=-1).all()


def test_inforeg_regulates_it_without_a_head():
    batch = make_batch()
    callback = InfoRegCallback({m: f"encoders.{m}" for m in WIDTHS}, window="always")
    regulated, plain = joint(lr=0.01), joint(lr=0.01)
    for module, callbacks in ((plain, []), (regulated, [callback])):
        torch.manual_seed(2)  # dropout
        trainer = quiet_trainer(max_epochs=2, callbacks=callbacks)
        trainer.fit(module, in_memory_loader(batch, 3), in_memory_loader(batch, 6))
        trainer.test(module, in_memory_loader(batch, 6), verbose=False)
    assert set(callback.history[-1]["score"]) == set(WIDTHS)
    assert callback.history[-1]["trace"]["text"] > 0
    different = [
        name
        for (name, ours), theirs in zip(
            regulated.named_parameters(), plain.parameters(), strict=True
        )
        if not torch.equal(ours, theirs)
    ]
    assert any(name.startswith("encoders") for name in different)
    accuracies = {f"test/accuracy_{m}" for m in WIDTHS}
    assert accuracies <= set(trainer.callback_metrics)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SequenceTransformer(3, 7), "heads must divide width"),
        (lambda: SequenceTransformer(0, 5), "must be positive"),
        (lambda: FrameEncoder(3, 0), "must be positive"),
        (lambda: encoder()(torch.zeros(2, 4, 5)), r"shape \(B, T, 3\) .* got \(2, 4, 5\)"),
        (lambda: FrameEncoder(3, 8, 2)(torch.zeros(1, 3, 3)), "positions for 2 frames, got 3"),
        (lambda: JointAttention([8], 2), "two modalities or more"),
        (lambda: JointAttention([8, 4], 2), r"one width .* got widths \[8, 4\]"),
        (
            lambda: LateFusionClassifier({"text": encoder()}, 2, optimizer="adam"),
            "optimizer must be 'sgd' or 'adamw', got 'adam'",
        ),
    ],
)
def test_what_cannot_be_is_one_clear_error(make, message):
    with pytest.raises(ValueError, match=message):
        make()
