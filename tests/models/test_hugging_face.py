"""Encoders from Hugging Face: tiny models with random weights, saved and loaded as by a user."""

import pytest
import torch
import transformers

from inforeg_lightning.models import HuggingFaceEncoder
from inforeg_lightning.models.pretrained import blocks_of

SIZES = {"hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
         "intermediate_size": 32}  # fmt: skip
PATCHES = {"image_size": 16, "patch_size": 8}
WAVES = {"conv_dim": (8, 8), "conv_kernel": (10, 3), "conv_stride": (5, 2),
         "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 4,
         "num_conv_pos_embedding_groups": 2}  # fmt: skip
TOKENS = torch.tensor([[1, 2, 3, 0], [4, 5, 0, 0]])


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _clip():
    text = {**SIZES, "vocab_size": 20, "bos_token_id": 1, "eos_token_id": 2}
    return transformers.CLIPConfig(text_config=text, vision_config={**SIZES, **PATCHES})


# Model -> its configuration, an input, and the part that encodes it.
MODELS = {
    "ViT": (lambda: transformers.ViTConfig(**SIZES, **PATCHES), draw(2, 3, 16, 16), None),
    "Bert": (lambda: transformers.BertConfig(**SIZES, vocab_size=20), TOKENS, None),
    "Wav2Vec2": (lambda: transformers.Wav2Vec2Config(**SIZES, **WAVES), draw(2, 800), None),
    "Hubert": (lambda: transformers.HubertConfig(**SIZES, **WAVES), draw(2, 1, 800), None),
    "AST": (
        lambda: transformers.ASTConfig(
            **SIZES, num_mel_bins=16, max_length=32, patch_size=8, frequency_stride=8, time_stride=8
        ),
        draw(2, 1, 16, 32),
        None,
    ),
    "ResNet": (
        lambda: transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic"
        ),
        draw(2, 3, 32, 32),
        None,
    ),
    "CLIP": (_clip, draw(2, 3, 16, 16), "vision_model"),
}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Model -> the folder that its ``save_pretrained`` wrote."""
    root = tmp_path_factory.mktemp("pretrained")
    for name, (config, _, _) in MODELS.items():
        torch.manual_seed(0)
        getattr(transformers, f"{name}Model")(config()).save_pretrained(root / name)
    return {name: str(root / name) for name in MODELS}


def load(saved, name, **settings):
    return HuggingFaceEncoder(saved[name], part=MODELS[name][2], **settings)


@pytest.mark.parametrize("name", MODELS)
class TestHuggingFace:
    def test_maps_what_the_model_takes_to_its_width(self, saved, name):
        encoder = load(saved, name, trained="none")
        features = encoder(MODELS[name][1])
        assert features.shape == (2, encoder.out_features) == (2, 16)
        assert not features.requires_grad

    def test_frozen_it_stays_in_evaluation_mode_and_its_buffers_as_they_are(self, saved, name):
        encoder = load(saved, name, trained="none")
        before = {key: value.clone() for key, value in encoder.state_dict().items()}
        for _ in range(2):
            encoder.train()
            assert not any(part.training for part in encoder.network.modules())
            features = encoder(MODELS[name][1])
        assert torch.equal(features, encoder.eval()(MODELS[name][1]))
        after = encoder.state_dict()
        assert all(torch.equal(value, after[key]) for key, value in before.items())

    def test_the_last_block_learns_and_no_block_before_it(self, saved, name):
        encoder = load(saved, name, trained=1)
        encoder(MODELS[name][1]).square().sum().backward()
        *before, last = blocks_of(encoder.network)
        assert all(p.grad is None for block in before for p in block.parameters())
        learning = [p for p in last.parameters() if p.grad is not None and p.grad.abs().sum() > 0]
        assert len(learning) > len([*last.parameters()]) / 2
        assert all(part.training for part in last.modules())
        assert not any(part.training for block in before for part in block.modules())


@pytest.mark.parametrize("name", ["ViT", "Bert", "Hubert"])
def test_lora_trains_two_small_matrices_per_layer_and_begins_where_the_model_is(saved, name):
    plain = load(saved, name, trained="none")
    encoder = load(saved, name, trained="lora", lora={"r": 2})
    x = MODELS[name][1]
    torch.testing.assert_close(encoder(x), plain(x))
    encoder(x).square().sum().backward()
    trained = {key: p for key, p in encoder.named_parameters() if p.requires_grad}
    assert trained
    assert all(".lora_" in key and 2 in p.shape for key, p in trained.items())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in trained.values())
    frozen = [p for p in encoder.parameters() if not p.requires_grad]
    assert all(p.grad is None for p in frozen)


def test_padding_says_nothing(saved):
    encoder = load(saved, "Bert", trained="none")
    short = torch.tensor([[1, 2, 3], [4, 5, 0]])
    torch.testing.assert_close(encoder(TOKENS), encoder(short))
    other = HuggingFaceEncoder(saved["Bert"], trained="none", padding=9)
    assert not torch.allclose(other(TOKENS)[1], encoder(TOKENS)[1])


def test_a_spectrogram_may_lie_either_way(saved):
    encoder, x = load(saved, "AST", trained="none"), MODELS["AST"][1]
    torch.testing.assert_close(encoder(x.squeeze(1).transpose(1, 2)), encoder(x))


def test_the_first_token_instead_of_the_mean(saved):
    mean, first = (load(saved, "ViT", trained="none", pool=pool) for pool in ("mean", "first"))
    states = mean.network(pixel_values=MODELS["ViT"][1]).last_hidden_state
    torch.testing.assert_close(mean(MODELS["ViT"][1]), states.mean(dim=1))
    torch.testing.assert_close(first(MODELS["ViT"][1]), states[:, 0])


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"source": "nobody/nothing"}, FileNotFoundError, "hf download nobody/nothing"),
        ({"source": "no such folder!"}, FileNotFoundError, "neither a folder nor in"),
        ({"part": "audio_model"}, ValueError, "`part` is 'audio_model', but CLIPModel has text_m"),
        ({"part": None}, ValueError, "name the `part` of the model that encodes"),
        ({"pool": "last"}, ValueError, "`pool` must be one of mean, first, but is 'last'"),
        ({"trained": 9}, ValueError, "last 9 blocks, but CLIPVision.* has 3"),
        ({"trained": "some"}, ValueError, "`trained` must be 'all', 'none', 'lora' or a number"),
        ({"trained": 0}, ValueError, "1 or more, but is 0"),
        ({"trained": True}, ValueError, "1 or more, but is True"),
        ({"lora": {"r": 2}}, ValueError, "`lora` is for trained='lora', but `trained` is 'all'"),
    ],
)
def test_what_cannot_be_loaded_is_one_clear_error(saved, settings, error, message):
    with pytest.raises(error, match=message):
        HuggingFaceEncoder(**{"source": saved["CLIP"], "part": "vision_model"} | settings)


def test_a_folder_without_a_model_is_one_clear_error(tmp_path):
    with pytest.raises(ValueError, match="holds no model to load"):
        HuggingFaceEncoder(str(tmp_path))
