"""From raw clips through real decoders to a trained model and its report."""

import json
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("av")
pytest.importorskip("torchvision")
pytest.importorskip("hydra")

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from torch import nn

from helpers.digit_files import write_sources
from helpers.meme_files import write_memes
from helpers.mosi_files import write_mosi, write_utterances
from helpers.own_data import write_own_data, write_table
from helpers.programs import run_program
from helpers.raw_media import (
    kinetics_name,
    write_cremad,
    write_kinetics_sounds,
    write_violent_flows,
)
from helpers.trainers import quiet_trainer
from helpers.view_files import write_views
from inforeg_lightning.data import CREMADDataModule, KineticsSoundsDataModule
from inforeg_lightning.data.cremad import CREMADRecipe
from inforeg_lightning.data.kinetics_sounds import KineticsSoundsRecipe
from inforeg_lightning.data.prepare import prepare
from inforeg_lightning.data.violent_flows import ViolentFlowsRecipe
from inforeg_lightning.models import LateFusionClassifier

# Lightning 2.6 on newer torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "experiments"))
ACTORS = range(1001, 1005)
EMOTIONS = ("NEU", "SAD", "ANG")
CLASSES = (0, 12, 24)


@pytest.fixture(scope="module")
def cremad(tmp_path_factory):
    root = tmp_path_factory.mktemp("cremad")
    faults = {"1001_DFA_ANG_XX": "broken", "1002_DFA_SAD_XX": "truncated"}
    write_cremad(root / "raw", ACTORS, ["DFA"], EMOTIONS, faults, size=(60, 80))
    prepare(CREMADRecipe(), root / "raw", root / "store", workers=1)
    return root / "store"


@pytest.fixture(scope="module")
def kinetics(tmp_path_factory):
    root = tmp_path_factory.mktemp("kinetics")
    faults = {kinetics_name(0, 0): "short", kinetics_name(12, 1): "wrong_rate"}
    write_kinetics_sounds(root / "raw", CLASSES, 4, faults, size=(60, 80))
    for half, numbers in (("train", (0, 1, 2)), ("test", (3, 4))):
        lines = [f"{kinetics_name(c, i)},10,{c}\n" for c in CLASSES for i in numbers]
        (root / f"{half}.csv").write_text("".join(lines))
    lists = (root / "train.csv", root / "test.csv")
    prepare(KineticsSoundsRecipe(), root / "raw", root / "store", *lists, workers=1)
    return root / "store"


def composed(*overrides):
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose("train", list(overrides))


def train(folder, *overrides):
    from running.compose import Place
    from running.training import run

    few = [f"+trainer.limit_{part}_batches=1" for part in ("train", "val", "test")]
    cfg = composed(
        *overrides,
        *few,
        "threads=1",
        "trainer.max_epochs=1",
        "trainer.enable_progress_bar=false",
        "trainer.log_every_n_steps=1",
        "++trainer.accelerator=cpu",
        "++data.batch_size=4",
        "+data.num_workers=0",
    )
    return run(cfg, Place(folder, (), ""))


def test_cremad_trains_by_its_recipe_and_is_reported(cremad, tmp_path, capsys):
    shares = ("+data.test_share=0.25", "+data.val_share=0.33")
    arguments = ("experiment=cremad", f"data.store={cremad}", "data.split=group", *shares)
    result = train(tmp_path / "runs/seed=0", *arguments)
    assert set(result["last"]["probe"]) == {"audio", "video"}
    assert {"accuracy", "accuracy_audio", "accuracy_video"} <= set(result["last"]["test"])
    history = json.loads((tmp_path / "runs/seed=0/history.json").read_text())
    assert history[0]["trace"]["video"] > 0
    assert "epoch 1/1" in capsys.readouterr().out
    report = run_program(ROOT / "experiments/report.py", tmp_path / "runs", cwd=tmp_path)
    assert report.returncode == 0, report.stderr
    assert "| InfoReg" in report.stdout
    assert (tmp_path / "runs/report/report.html").exists()


@pytest.mark.slow
def test_cremad_trains_from_shards(cremad, tmp_path):
    program, shards = ROOT / "experiments/shard.py", tmp_path / "shards"
    arguments = (f"store={cremad}", f"out={shards}", "shard_mb=0.2")
    done = run_program(program, *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    count = len(list(shards.glob("*.tar")))
    assert count > 2
    assert f"{shards}: {len(ACTORS) * len(EMOTIONS) - 2} clips in {count} shards" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shards"]
    split = ("data.split=group", "+data.test_share=0.25", "+data.val_share=0.33")
    result = train(tmp_path / "run", "experiment=cremad", f"data.store={shards}", *split)
    assert set(result["last"]["probe"]) == {"audio", "video"}
    for arguments, message in (
        (["store=nothing", f"out={tmp_path / 'new'}"], "no prepared store in"),
        ([f"store={cremad}"], "out must be given, as out=FOLDER"),
    ):
        done = run_program(program, *arguments, cwd=tmp_path)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_kinetics_sounds_trains_by_its_recipe(kinetics, tmp_path):
    result = train(tmp_path / "run", "experiment=kinetics_sounds", f"data.store={kinetics}")
    assert result["epochs"] == 1
    assert 0 <= result["last"]["test"]["accuracy"] <= 1


def test_views_train_by_their_recipe(tmp_path):
    write_views(tmp_path / "raw")
    result = train(tmp_path / "run", "experiment=views", f"data.root={tmp_path / 'raw'}")
    assert result["modalities"] == ["fac", "fou", "kar", "mor", "pix", "zer"]
    assert set(result["last"]["probe"]) == set(result["modalities"])


def test_cmu_mosi_trains_by_its_recipe_and_reports_macro_f1(tmp_path):
    from inforeg_lightning.report import load_runs, markdown, summarise

    write_mosi(tmp_path / "raw")
    root, width = f"data.root={tmp_path / 'raw'}", "model.encoders.text.width=20"
    result = train(tmp_path / "runs/seed=0", "experiment=cmu_mosi", root, width, *SMALL)
    assert set(result["last"]["probe"]) == {"text", "audio", "vision"}
    (run,), rejected = load_runs([tmp_path / "runs"])
    assert not rejected
    f1 = run.value("last", "macro_f1")
    assert f1 == result["last"]["test"]["macro_f1"]
    (summary,) = summarise([run])
    table = markdown(summary)
    assert "| method | fused | fused, macro F1 |" in table
    assert f"| {100 * f1:.1f} |" in table


SMALL = [
    f"+model.encoders.{m}.{size}"
    for m in ("text", "audio", "vision")
    for size in ("layers=1", "feedforward=8")
]


def test_cmu_mosi_trains_by_joint_attention_whose_logits_the_model_reports(tmp_path):
    write_mosi(tmp_path / "raw")
    root = f"data.root={tmp_path / 'raw'}"
    result = train(tmp_path / "run", "experiment=cmu_mosi_joint", root)
    assert set(result["last"]["probe"]) == {"text", "audio", "vision"}
    history = json.loads((tmp_path / "run/history.json").read_text())
    assert set(history[0]["score"]) == {"text", "audio", "vision"}
    assert all(score < 0 for score in history[0]["score"].values())


@pytest.mark.parametrize("form", ["pickle", "csv", "csv with gaps"])
def test_cmu_mosi_learns_the_number_itself(tmp_path, form):
    if form == "pickle":
        write_mosi(tmp_path / "raw")
    else:
        write_utterances(tmp_path / "raw", ("audio/train0_1",) if "gaps" in form else ())
    gaps = ["+data.gaps=true"] if "gaps" in form else []
    arguments = ("experiment=cmu_mosi_regression", f"data.root={tmp_path / 'raw'}", *SMALL, *gaps)
    result = train(tmp_path / "run", *arguments, "model.encoders.text.width=20")
    assert (result["task"], result["metric"]) == ("regression", "mae")
    assert {"mae", "correlation", "acc_7", "acc_2", "f1", "mae_text"} <= set(result["last"]["test"])
    history = json.loads((tmp_path / "run/history.json").read_text())
    assert all(score < 0 for score in history[0]["score"].values())


WORDS = (
    "+data.modalities.caption={text:caption,words:6,vocabulary:12}",
    "+model.encoders.caption={_target_:inforeg_lightning.models.TextTransformer}",
    "+model.encoders.caption.vocabulary=${data.modalities.caption.vocabulary}",
    "+modalities.caption=encoders.caption",
    "+data.modalities.voice={sounds:clips,column:clip,seconds:0.5}",
    "+model.encoders.voice={_target_:inforeg_lightning.models.ConvEncoder}",
    "+modalities.voice=encoders.voice",
    "callbacks.mslr.rates=[1,1,1,1]",
)


@pytest.mark.parametrize("task", ["classes", "regression"])
def test_a_table_trains_with_words_sounds_and_gaps(tmp_path, task):
    root = tmp_path / "raw"
    rows = write_own_data(root)
    for place, column in enumerate(("picture", "width", "clip", "caption") * 4):
        rows[place][column] = ""
    write_table(root, rows)
    number = ("task=regression", "model.num_classes=1", "+data.label=weight")
    more = number if task == "regression" else ()
    arguments = ("experiment=table", f"data.root={root}", "+data.gaps=true", *WORDS, *more)
    result = train(tmp_path / "run", *arguments)
    assert set(result["last"]["probe"]) == {"picture", "record", "caption", "voice"}
    assert result.get("metric") == ("mae" if task == "regression" else None)
    history = json.loads((tmp_path / "run/history.json").read_text())
    assert all(score is not None for score in history[0]["score"].values())


def test_hateful_memes_train_by_their_recipe_and_report_auroc(tmp_path):
    write_memes(tmp_path / "raw")
    result = train(tmp_path / "run", "experiment=hateful_memes", f"data.root={tmp_path / 'raw'}")
    assert result["metrics"] == ["auroc"]
    assert 0 <= result["last"]["test"]["auroc"] <= 1
    assert set(result["last"]["probe"]) == {"image", "text"}


@pytest.fixture(scope="module")
def violent_flows(tmp_path_factory):
    pytest.importorskip("cv2")
    root = tmp_path_factory.mktemp("violent_flows")
    write_violent_flows(root / "raw", 1, silent=["1_violent_0", "3_non-violent_0"])
    prepare(ViolentFlowsRecipe(), root / "raw", root / "store", workers=1)
    return root / "store"


@pytest.mark.slow
def test_violent_flows_train_by_their_recipe_fold_by_fold(violent_flows, tmp_path):
    arguments = ("experiment=violent_flows", f"data.store={violent_flows}", "data.fold=1")
    result = train(tmp_path / "run", *arguments)
    assert set(result["last"]["probe"]) == {"video", "flow"}


def test_the_sound_of_violent_flows_is_a_third_modality_that_clips_may_lack(
    violent_flows, tmp_path
):
    small = [
        override
        for name, channels in (("video", 3), ("flow", 3), ("audio", 1))
        for override in (
            f"++model.encoders.{name}._target_=helpers.averaging.Averaging",
            f"+model.encoders.{name}.channels={channels}",
        )
    ]
    sound = ("+data.gaps=true", "+modalities.audio=encoders.audio")
    result = train(
        tmp_path / "run", "experiment=violent_flows", f"data.store={violent_flows}", *small, *sound
    )
    assert set(result["last"]["probe"]) == {"video", "flow", "audio"}
    history = json.loads((tmp_path / "run/history.json").read_text())
    assert all(score is not None for score in history[0]["score"].values())


def test_av_mnist_trains_by_its_recipe(tmp_path):
    # As large as the real one needs: the recipe is not cut down.
    write_sources(tmp_path / "raw", {"train": 350, "test": 100}, recordings=50)
    result = train(tmp_path / "run", "experiment=av_mnist", f"data.root={tmp_path / 'raw'}")
    assert result["modalities"] == ["audio", "image"]
    # No network has seen a second batch, but pitch and place can be read off untrained features.
    assert min(result["last"]["probe"].values()) > 0.2


def test_av_mnist_of_four_speakers_needs_only_one_half_of_mnist(tmp_path):
    raw = tmp_path / "raw"
    write_sources(raw, {"train": 1, "test": 300}, recordings=50)
    for file in (raw / "mnist").glob("train-*"):
        file.unlink()
    for file in (*(raw / "fsdd").glob("*_theo_*"), *(raw / "fsdd").glob("*_yweweler_*")):
        file.unlink()
    result = train(tmp_path / "run", "experiment=av_mnist_speakers", f"data.root={raw}")
    assert (result["experiment"], result["modalities"]) == (
        "av_mnist_speakers",
        ["audio", "image"],
    )


class _Mean(nn.Module):
    """The mean over time and space, standardised, so that loudness and brightness do not count."""

    def __init__(self, features, over):
        super().__init__()
        self.out_features, self.over = features, over
        self.norm = nn.LayerNorm(features)

    def forward(self, x):
        return self.norm(x.mean(self.over).flatten(1))


@pytest.mark.parametrize("modality", ["audio", "video"])
def test_what_was_recorded_is_what_is_learnt(cremad, modality):
    data = CREMADDataModule(cremad, num_workers=0, split="group", test_share=0.25, val_share=0.33)
    encoder = _Mean(257, (1, 3)) if modality == "audio" else _Mean(3, (2, 3, 4))
    torch.manual_seed(0)
    model = LateFusionClassifier({modality: encoder}, 6, lr=0.1)
    trainer = quiet_trainer(max_epochs=40)
    trainer.fit(model, datamodule=data)
    # Pitch and colour of an unseen actor's clips tell their class, if labels, sounds and frames
    # have stayed together all the way; chance is 1 in 6.
    assert trainer.test(model, datamodule=data, verbose=False)[0]["test/accuracy"] > 0.6


def test_what_could_not_be_used_is_told(cremad, kinetics):
    data = CREMADDataModule(cremad, split="group", test_share=0.25, val_share=0.33)
    data.setup()
    assert sum(map(len, data.split.rows.values())) == len(ACTORS) * len(EMOTIONS) - 2
    assert f"2 could not be prepared: {cremad / 'rejected.csv'}" in data.table()
    data = KineticsSoundsDataModule(kinetics)
    data.setup()
    # One is short, and the last of each class is listed and was never there.
    assert "4 could not be prepared" in data.table()
