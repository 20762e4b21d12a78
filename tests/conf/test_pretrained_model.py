"""Pretrained encoders in a recipe: trained as a user would, regulated or not, and refused."""

import pytest
import torch
import transformers
from hydra.utils import instantiate

from inforeg_lightning import InfoRegCallback

SYNTHETIC = (
    "experiment=synthetic",
    "model=pretrained",
    "+data.shapes.video=[3,2,32,32]",
    "~data.shapes.image",
    "~model.encoders.image",
    "~model.encoders.audio.widths",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A tiny audio spectrogram transformer, as it would lie on a user's disk."""
    folder = tmp_path_factory.mktemp("ast")
    torch.manual_seed(0)
    config = transformers.ASTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        num_mel_bins=16, max_length=16, patch_size=8, frequency_stride=8, time_stride=8,
    )  # fmt: skip
    transformers.ASTModel(config).save_pretrained(folder)
    return f"model.encoders.audio.source={folder}"


def video(library, *others):
    name = "resnet18" if library == "torchvision" else "resnet10t"
    return (f"encoder@model.encoders.video={library}", f"model.encoders.video.source={name}",
            *others)  # fmt: skip


@pytest.fixture
def train(composed, tmp_path):
    """Train a recipe in this process; its model, and the callback, after two epochs."""
    from lightning.pytorch import Trainer

    from running.building import build_data, build_methods, build_model
    from running.checks import check

    def run(*overrides):
        cfg = composed(*SYNTHETIC, *overrides)
        check(cfg)
        torch.manual_seed(0)
        model, methods = build_model(cfg), build_methods(cfg)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        before |= {name: b.clone() for name, b in model.named_buffers()}
        trainer = Trainer(
            max_epochs=2, accelerator="cpu", callbacks=methods, logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip
        trainer.fit(model, datamodule=build_data(cfg))
        after = model.state_dict()
        moved = {n for n, x in before.items() if n in after and not torch.equal(x, after[n])}
        return moved, methods[0]

    return run


pytestmark = pytest.mark.filterwarnings("ignore:.*module.s. in eval mode at the start of training")


def of(moved, modality):
    return {name for name in moved if name.startswith(f"encoders.{modality}.")}


def test_beside_a_frozen_encoder_the_other_is_trained_and_regulated(train, source):
    frozen = "model.encoders.audio.trained=none"
    moved, callback = train(source, frozen, *video("torchvision"), "callbacks=inforeg_always")
    assert of(moved, "audio") == set()
    assert any("running_mean" in name for name in of(moved, "video"))
    for entry in callback.history:
        assert entry["trace"]["audio"] == entry["penalty"]["audio"] == 0.0 < entry["trace"]["video"]
        assert entry["score"]["audio"] < 0.0


def test_a_frozen_resnet_keeps_the_statistics_of_its_batch_norms(train, source):
    frozen = "model.encoders.video.trained=none"
    moved, _ = train(source, *video("torchvision", frozen), "callbacks=inforeg_always")
    assert of(moved, "video") == set()
    assert len(of(moved, "audio")) > 10


@pytest.mark.parametrize("trained", ["1", "lora"])
def test_what_is_trained_of_an_encoder_is_what_is_regulated(train, source, trained):
    part = f"model.encoders.audio.trained={trained}"
    last = "model.encoders.video.trained=1"
    moved, callback = train(source, part, *video("timm", last), "callbacks=inforeg_always")
    expected = ".lora_" if trained == "lora" else ("layer.2", "layers.2", "layernorm")
    found = of(moved, "audio")
    assert found
    kinds = (expected,) if isinstance(expected, str) else expected
    assert all(any(kind in name for kind in kinds) for name in found)
    assert all("layer4" in name for name in of(moved, "video"))
    penalties = [sum(entry["penalty"].values()) for entry in callback.history]
    assert sum(penalties) > 0
    assert all(entry["trace"]["audio"] > 0 for entry in callback.history)


def test_with_all_encoders_frozen_there_is_nothing_to_regulate_which_is_said(train, source):
    frozen = [f"model.encoders.{m}.trained=none" for m in ("audio", "video")]
    with pytest.raises(ValueError, match=r"no encoder of \['audio', 'video'\] has a trainable"):
        train(source, *frozen, *video("torchvision"), "callbacks=inforeg")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.encoders.audio.source=nobody/nothing"], "hf download nobody/nothing"),
        ([], "model.encoders.audio.source must be given"),
        (["model.encoders.audio.source=SAVED", "model.encoders.audio.trained=7"], "has 3: ASTL"),
        (["model.encoders.audio.source=SAVED", "model.encoders.audio.trained=some"], "or a number"),
        (
            ["model.encoders.audio.source=SAVED", "+model.encoders.audio.r=2"],
            "r is not an argument",
        ),
    ],
)
def test_what_cannot_be_built_is_one_sentence(composed, source, overrides, message):
    from running.checks import check
    from running.errors import RecipeError

    place = source.partition("=")[2]
    given = [override.replace("SAVED", place) for override in overrides]
    with pytest.raises(RecipeError, match=message):
        check(composed(*SYNTHETIC, *video("torchvision"), *given))


@pytest.mark.parametrize("experiment", ["cremad", "kinetics_sounds"])
def test_it_takes_the_place_of_the_papers_encoders(composed, source, experiment):
    cfg = composed(f"experiment={experiment}", "model=pretrained", source, *video("timm"))
    model = instantiate(cfg.model, _convert_="all")
    assert [*model.encoders] == ["audio", "video"]
    assert model.head.in_features == 16 + 512


@pytest.mark.parametrize("library", ["hugging_face", "timm", "torchaudio", "torchvision"])
def test_every_library_is_a_choice_for_every_modality(composed, library):
    from pkgutil import resolve_name

    cfg = composed(
        "experiment=cremad", "model=pretrained", f"encoder@model.encoders.audio={library}"
    )
    assert resolve_name(cfg.model.encoders.audio["_target_"]).__name__.lower() == (
        f"{library.replace('_', '')}encoder"
    )
    assert cfg.model.encoders.audio.trained == "all"
    assert InfoRegCallback(dict(cfg.modalities.items()))
