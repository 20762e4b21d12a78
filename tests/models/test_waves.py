"""Encoders from torchaudio, where it can be imported, and what is said where it cannot."""

import sys

import pytest
import torch

from inforeg_lightning.models import TorchaudioEncoder
from inforeg_lightning.models.pretrained import blocks_of

SETTINGS = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [(8, 10, 5), (8, 3, 2)],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 16,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 4,
    "encoder_pos_conv_groups": 2,
    "encoder_num_layers": 3,
    "encoder_num_heads": 2,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 32,
    "encoder_ff_interm_dropout": 0.1,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.0,
    "aux_num_out": None,
}


class TestWithTorchaudio:
    @pytest.fixture(autouse=True)
    def _need_torchaudio(self):
        # An extra of its own: it refuses to be imported beside a torch of another CUDA.
        pytest.importorskip("torchaudio", exc_type=Exception)

    @pytest.fixture
    def weights(self, tmp_path):
        import torchaudio

        torch.manual_seed(0)
        model = torchaudio.models.wav2vec2_model(**SETTINGS)
        torch.save(model.state_dict(), tmp_path / "weights.pth")
        return str(tmp_path / "weights.pth"), model.eval()

    def test_features_are_the_last_layer_averaged_over_time(self, weights):
        file, model = weights
        encoder = TorchaudioEncoder("wav2vec2_model", file, SETTINGS, trained="none")
        waves = torch.randn(2, 400, generator=torch.Generator().manual_seed(0))
        expected = model.extract_features(waves)[0][-1].mean(dim=1)
        torch.testing.assert_close(encoder(waves), expected)
        torch.testing.assert_close(encoder(waves.unsqueeze(1)), expected)
        assert encoder.out_features == 16
        assert not any(part.training for part in encoder.train().network.modules())
        with pytest.raises(ValueError, match=r"takes waveforms .*got \(2, 3, 400\)"):
            encoder(waves.unsqueeze(1).expand(-1, 3, -1))

    @pytest.mark.parametrize("trained", [1, "lora"])
    def test_a_part_learns(self, weights, trained):
        pytest.importorskip("peft")
        encoder = TorchaudioEncoder("wav2vec2_model", weights[0], SETTINGS, trained)
        encoder(torch.randn(2, 400)).square().sum().backward()
        learning = {n for n, p in encoder.named_parameters() if p.grad is not None}
        assert learning
        first = "network.encoder.transformer.layers.2." if trained == 1 else ""
        assert all(name.startswith(first) for name in learning)
        assert trained == 1 or all(".lora_" in name for name in learning)
        assert len(blocks_of(encoder.network)) == 3

    @pytest.mark.parametrize(
        ("arguments", "error", "message"),
        [
            (("HUBERT_BASE",), FileNotFoundError, r"not in the hub cache .*HUBERT_BASE.get_model"),
            (("HUBERT",), ValueError, "the pipelines are .*WAV2VEC2_BASE"),
            (("WAV2VEC2_BASE", "x"), ValueError, "a pipeline with weights and settings of its own"),
            (("tacotron2",), ValueError, "the models are .*hubert_base"),
            (("wav2vec2_base", "nowhere.pth"), FileNotFoundError, "where there is no file"),
        ],
    )
    def test_what_is_not_there_is_one_clear_error(
        self, arguments, error, message, tmp_path, monkeypatch
    ):
        monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
        with pytest.raises(error, match=message):
            TorchaudioEncoder(*arguments)

    def test_weights_of_another_model_are_refused(self, weights):
        other = {**SETTINGS, "encoder_num_layers": 2}
        with pytest.raises(ValueError, match=r"are not of wav2vec2_model: .*Unexpected key"):
            TorchaudioEncoder("wav2vec2_model", weights[0], other)


@pytest.mark.parametrize(
    ("refusal", "torchs", "remedy"),
    [
        ("RuntimeError('different CUDA versions')", "2.14.1+cu130", "'torchaudio>=2.11' .*/cu"),
        ("OSError('undefined symbol')", "2.8.0", "'torchaudio==2.8.0' .*whl/"),
    ],
)
def test_a_torchaudio_that_does_not_fit_says_which_does(
    tmp_path, monkeypatch, refusal, torchs, remedy
):
    """As torchaudio does beside a torch that was built for another CUDA."""
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text(f"raise {refusal}\n")
    (tmp_path / "torchaudio-2.11.0.dist-info").mkdir()
    metadata = "Metadata-Version: 2.1\nName: torchaudio\nVersion: 2.11.0\n"
    (tmp_path / "torchaudio-2.11.0.dist-info" / "METADATA").write_text(metadata)
    for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(torch, "__version__", torchs)
    said = rf"torchaudio 2.11.0 cannot be imported beside torch {torchs[:5]}.*{remedy}"
    with pytest.raises(ImportError, match=said):
        TorchaudioEncoder("HUBERT_BASE")


def test_without_torchaudio_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'inforeg-lightning\[torchaudio\]'"):
        TorchaudioEncoder("HUBERT_BASE")
