"""Whose features a head's inputs are, found from the graph or from the values."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from inforeg_lightning.engine.probe.layout import Layout

AUDIO, VIDEO = nn.Linear(3, 4), nn.Linear(5, 4)
ENCODERS = {"audio": [AUDIO], "video": [VIDEO]}


@pytest.fixture
def features():
    return AUDIO(torch.randn(2, 3)), VIDEO(torch.randn(2, 5))


def only(leaves, modality, outputs=None):
    return Layout(leaves, outputs or {}, ENCODERS).keep_only((modality,), leaves)


@pytest.mark.parametrize(
    "between",
    [
        pytest.param(lambda x: x, id="nothing"),
        pytest.param(torch.relu, id="relu"),
        pytest.param(nn.Dropout(0.5), id="dropout"),
        pytest.param(nn.LayerNorm(8), id="norm"),
        pytest.param(lambda x: x.to(torch.bfloat16), id="cast"),
        pytest.param(lambda x: x.view(2, 8), id="view"),
    ],
)
@pytest.mark.parametrize("dim", [1, -1])
def test_columns_are_told_by_the_order_of_concatenation(features, between, dim):
    audio, video = features
    x = between(torch.cat([video, audio], dim=dim))
    (kept,) = only([x], "audio")
    assert kept.requires_grad, "the graph is kept for methods that need it"
    assert torch.equal(kept[:, :4], torch.zeros_like(kept[:, :4]))
    assert torch.equal(kept[:, 4:], x[:, 4:])
    (kept,) = only([x], "video")
    assert torch.equal(kept[:, :4], x[:, :4])
    assert not kept[:, 4:].any()


def test_what_lies_between_encoder_and_concatenation_does_not_matter(features):
    audio, video = features
    pooled = F.adaptive_avg_pool1d(video.unsqueeze(1), 2).flatten(1)
    x = torch.cat([F.normalize(audio), pooled], dim=1)
    (kept,) = only([x], "video")
    assert not kept[:, :4].any()
    assert torch.equal(kept[:, 4:], x[:, 4:])


def test_tokens_concatenated_along_another_dimension(features):
    audio, video = features
    x = torch.cat([audio.unsqueeze(1), video.unsqueeze(1), video.unsqueeze(1)], dim=1)
    (kept,) = only([x], "audio")
    assert torch.equal(kept[:, 0], x[:, 0])
    assert not kept[:, 1:].any()


def test_nested_concatenations_and_parts_of_no_modality(features):
    audio, video = features
    x = torch.cat([torch.ones(2, 2), torch.cat([audio, video], 1), audio], dim=1)
    (kept,) = only([x], "audio")
    assert not kept[:, :2].any(), "what belongs to no modality is in no unimodal logit"
    assert not kept[:, 6:10].any()
    assert torch.equal(kept[:, 10:], x[:, 10:])


def test_one_input_a_modality_and_others_untouched(features):
    audio, video = features
    mask = torch.ones(2)
    kept_audio, kept_video, kept_mask, flag = only([audio, video, mask, "flag"], "video")
    assert not kept_audio.any()
    assert torch.equal(kept_video, video)
    assert kept_mask is mask
    assert flag == "flag"


def test_without_a_graph_the_values_tell(features):
    audio, video = (z.detach() for z in features)
    x = torch.cat([video, audio], dim=1)
    (kept,) = only([x], "audio", {"audio": [audio], "video": [video]})
    assert not kept[:, :4].any()
    assert torch.equal(kept[:, 4:], audio)


def test_the_input_itself_is_left_as_it_was(features):
    x = torch.cat(features, dim=1)
    before = x.detach().clone()
    only([x], "audio")
    assert torch.equal(x, before)


@pytest.mark.parametrize(
    "mix",
    [
        pytest.param(lambda a, v: a + v, id="sum"),
        pytest.param(lambda a, v: nn.Linear(8, 8)(torch.cat([a, v], 1)), id="linear"),
        pytest.param(lambda a, v: torch.cat([a, v], 1)[:, torch.randperm(8)], id="permutation"),
        pytest.param(lambda a, v: torch.cat([a * v.sigmoid(), v], 1), id="gate"),
    ],
)
def test_mixed_features_are_refused(features, mix):
    with pytest.raises(LookupError, match="mixes modalities"):
        only([mix(*features)], "audio")


def test_a_mixed_input_is_refused_even_if_all_modalities_are_found(features):
    audio, video = features
    with pytest.raises(LookupError, match="mixes modalities"):
        only([audio, video, audio * video], "audio")


def test_a_called_encoder_whose_features_have_no_place_is_named(features):
    audio, video = features
    with pytest.raises(LookupError, match="features of video are not among the inputs"):
        only([audio], "audio", {"audio": [audio], "video": [video]})


def test_an_encoder_that_was_not_called_is_absent(features):
    audio, _ = features
    x = torch.cat([audio, torch.ones(2, 4)], dim=1)
    layout = Layout([x], {"audio": [audio]}, ENCODERS)
    assert layout.absent == {"video"}
    (kept,) = layout.keep_only(("audio",), [x])
    assert torch.equal(kept[:, :4], audio)
    assert not kept[:, 4:].any(), "what stands in the place of video is not audio's"


def test_a_concatenation_inside_an_encoder_is_the_encoder_s(features):
    audio, video = features
    dense = torch.cat([torch.ones(2, 3), audio], dim=1)
    (kept,) = only([torch.cat([dense, video], 1)], "audio", {"audio": [dense], "video": [video]})
    assert torch.equal(kept[:, :7], dense)
