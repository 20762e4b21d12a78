"""The encoders of words and of pictures: shapes, padding, and what is refused."""

import pytest
import torch

from inforeg_lightning.models import FrameEncoder, JointAttentionClassifier, TextTransformer


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return TextTransformer(20, width=8, max_words=6, heads=2, layers=1, feedforward=16).eval()


def test_padding_changes_nothing(encoder):
    short = torch.tensor([[3, 4, 5]])
    padded = torch.tensor([[3, 4, 5, 0, 0, 0]])
    assert encoder(short).shape == (1, encoder.out_features)
    torch.testing.assert_close(encoder(padded), encoder(short))


def test_words_and_their_order_matter(encoder):
    found = [encoder(torch.tensor([words])) for words in ([3, 4, 5], [3, 4, 6], [5, 4, 3])]
    assert not torch.allclose(found[0], found[1])
    assert not torch.allclose(found[0], found[2])


def test_a_text_without_words_is_finite(encoder):
    found = encoder(torch.tensor([[0, 0, 0], [3, 0, 0]]))
    assert torch.isfinite(found).all()


@pytest.mark.parametrize("shape", [(2,), (2, 0), (2, 7)])
def test_other_shapes_are_refused(encoder, shape):
    with pytest.raises(ValueError, match=r"takes indices of words \(B, T\) with T up to 6, got"):
        encoder(torch.zeros(shape, dtype=torch.int64))


def test_wrong_sizes_are_refused():
    with pytest.raises(ValueError, match="heads must divide width"):
        TextTransformer(20, width=9, heads=2)


def test_a_picture_has_three_channels():
    pytest.importorskip("torchvision")
    from inforeg_lightning.models import ImageResNet18

    encoder = ImageResNet18().eval()
    assert encoder(torch.zeros(2, 3, 40, 40)).shape == (2, 512)
    with pytest.raises(ValueError, match=r"takes images of shape \(B, 3, H, W\), got \(2, 1, 40"):
        encoder(torch.zeros(2, 1, 40, 40))


def test_a_probe_of_joint_attention_reads_the_mean_of_tokens_that_are_no_padding():
    encoders = {"a": FrameEncoder(3, 8), "b": FrameEncoder(2, 8)}
    model = JointAttentionClassifier(encoders, num_classes=2)
    tokens = torch.randn(2, 4, 8, generator=torch.Generator().manual_seed(0))
    tokens[0, 2:], tokens[1] = 0, 0
    pooled = model.pooled({"a": tokens})["a"]
    torch.testing.assert_close(pooled[0], tokens[0, :2].mean(0))
    assert not pooled[1].any()
