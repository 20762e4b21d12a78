"""Baselines that are no callbacks: one modality alone, and encoders that were trained before."""

import lightning.pytorch as L
import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.utils.data import DataLoader

from inforeg_lightning.models import LateFusionClassifier
from running.baselines import checkpoints, with_baseline
from running.claim import identity
from running.compose import check_groups
from running.errors import RecipeError
from running.pretrained import begin_from

MODALITIES = ("audio", "image")


def encoder():
    layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    layers.out_features = 4
    return layers


def model(*modalities):
    return LateFusionClassifier({m: encoder() for m in modalities}, num_classes=2, lr=0.1)


def asked(**init):
    init = {"encoders": None, "frozen": False, "last": None} | init
    return OmegaConf.create({"modalities": dict.fromkeys(MODALITIES, "x"), "init": init})


@pytest.fixture
def files(tmp_path):
    """A run folder of each modality alone."""
    for seed, modality in enumerate(MODALITIES):
        torch.manual_seed(seed)
        folder = tmp_path / f"{modality}_alone" / "checkpoints"
        folder.mkdir(parents=True)
        torch.save({"state_dict": model(modality).state_dict()}, folder / "last.ckpt")
    return tmp_path


def test_one_modality_alone_has_neither_the_others_nor_a_method(composed):
    cfg = with_baseline(composed("experiment=synthetic", "only=image"), "")
    assert (list(cfg.model.encoders), list(cfg.modalities)) == (["image"], ["image"])
    assert (cfg.callbacks.name, cfg.callbacks.title) == ("image_alone", "Image alone")
    assert identity(cfg)["callbacks"] == {}


def test_encoders_alone_are_those_of_the_same_seed_and_overrides(composed):
    cfg = composed("experiment=synthetic", "callbacks=none", "init.encoders=alone", "seed=3")
    cfg = with_baseline(cfg, "model.lr=0.1")
    found = {m: str(file) for m, file in checkpoints(cfg).items()}
    folder = "runs/synthetic/{}_alone/model.lr=0.1/seed=3/checkpoints/last.ckpt"
    assert found == {m: folder.format(m) for m in MODALITIES}
    assert cfg.callbacks.name == "pretrained"


def test_the_run_of_a_method_keeps_its_name(composed):
    cfg = composed("experiment=synthetic", "callbacks=ogm", "init.encoders=alone")
    assert with_baseline(cfg, "").callbacks.name == "ogm,alpha=0.1,pretrained"


def test_what_encoders_begin_from_is_part_of_what_a_run_is(composed):
    without = identity(with_baseline(composed("experiment=synthetic", "callbacks=none"), ""))
    overrides = ("experiment=synthetic", "callbacks=none", "init.encoders=alone")
    assert "init" not in without
    runs = [
        identity(with_baseline(composed(*overrides, *more), ""))["init"]
        for more in ((), ("init.frozen=true",))
    ]
    assert [run["frozen"] for run in runs] == [False, True]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["only=audio", "callbacks=ogm"], "only=audio: a method needs two modalities"),
        (["init.frozen=true", "callbacks=ogm"], "init.frozen=true trains the head alone"),
    ],
)
def test_a_baseline_leaves_no_room_for_a_method(overrides, message):
    with pytest.raises(RecipeError, match=message):
        check_groups(overrides)
    check_groups([overrides[0], "callbacks=none"])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["only=video"], "only=video: the modalities are audio, image"),
        (["only=audio", "init.encoders=alone"], "only and init are two baselines"),
        (["init.encoders=somewhere"], "init.encoders must be alone, or a folder with {modality}"),
        (["init.encoders={video:a.ckpt}"], "init.encoders names video, but the modalities are"),
    ],
)
def test_a_baseline_that_there_is_not_is_one_sentence(composed, overrides, message):
    with pytest.raises(RecipeError, match=message):
        with_baseline(composed("experiment=synthetic", *overrides), "")


def test_encoders_begin_where_they_were_left_and_the_head_anew(files):
    ours, before = model(*MODALITIES), model(*MODALITIES)
    before.load_state_dict(ours.state_dict())
    assert begin_from(asked(encoders=f"{files}/{{modality}}_alone"), ours) == []
    for modality in MODALITIES:
        saved = torch.load(files / f"{modality}_alone" / "checkpoints" / "last.ckpt")["state_dict"]
        for name, value in ours.encoders[modality].state_dict().items():
            assert torch.equal(value, saved[f"encoders.{modality}.{name}"])
    assert torch.equal(ours.head.weight, before.head.weight)


def test_only_the_named_encoder_is_loaded(files):
    ours, before = model(*MODALITIES), model(*MODALITIES)
    before.load_state_dict(ours.state_dict())
    begin_from(asked(encoders={"audio": f"{files}/audio_alone/checkpoints/last.ckpt"}), ours)
    assert not torch.equal(ours.encoders["audio"][0].weight, before.encoders["audio"][0].weight)
    assert torch.equal(ours.encoders["image"][0].weight, before.encoders["image"][0].weight)


def test_frozen_encoders_keep_weights_and_statistics_while_the_head_learns(files):
    torch.manual_seed(0)
    ours = model(*MODALITIES)
    frozen = begin_from(asked(encoders=f"{files}/{{modality}}_alone", frozen=True), ours)
    before = {name: value.clone() for name, value in ours.state_dict().items()}
    data = [{m: torch.randn(3) for m in MODALITIES} | {"label": i % 2} for i in range(8)]
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, callbacks=frozen, log_every_n_steps=1,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    loader = DataLoader(data, batch_size=4)
    trainer.fit(ours, loader, loader)
    changed = {n for n, value in ours.state_dict().items() if not torch.equal(value, before[n])}
    assert {name for name in changed if name.startswith("encoders")} == set()
    assert "head.weight" in changed


def test_the_last_block_learns_and_what_is_before_it_stays_whole(files):
    """Of a layer and a batch norm, the norm: its statistics move, the layer's weights do not."""
    torch.manual_seed(0)
    ours = model(*MODALITIES)
    callbacks = begin_from(asked(encoders=f"{files}/{{modality}}_alone", last=1), ours)
    ours.train()
    callbacks[0].on_train_epoch_start(None, ours)
    for encoder in ours.encoders.values():
        assert [p.requires_grad for p in encoder.parameters()] == [False, False, True, True]
        assert [part.training for part in encoder] == [False, True]
    with pytest.raises(RecipeError, match=r"init.last: `trained` asks for the last 3 blocks"):
        begin_from(asked(encoders=f"{files}/{{modality}}_alone", last=3), ours)


def test_the_last_block_is_a_run_of_its_own_and_takes_a_method(composed):
    overrides = ("experiment=synthetic", "callbacks=ogm", "init.encoders=alone", "init.last=1")
    cfg = with_baseline(composed(*overrides), "")
    assert cfg.callbacks.name == "ogm,alpha=0.1,pretrained,last=1"
    assert identity(cfg)["init"]["last"] == 1
    with pytest.raises(RecipeError, match=r"init.frozen trains no block, and init.last some"):
        with_baseline(composed(*overrides, "init.frozen=true"), "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no .*train it first, as python experiments/train.py only=audio"),
        (b"no checkpoint", "does not hold the encoder of audio"),
        ("image", "does not hold the encoder of audio"),
    ],
)
def test_a_checkpoint_that_is_not_of_the_encoder_is_one_sentence(files, content, message):
    file = files / "given.ckpt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif content:
        torch.save({"state_dict": model(content).state_dict()}, file)
    with pytest.raises(RecipeError, match=message):
        begin_from(asked(encoders={"audio": str(file)}), model(*MODALITIES))
