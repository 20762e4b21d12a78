"""A mistake on the command line is one sentence, and nothing is left behind."""

import pytest
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException

from running.checks import check
from running.claim import claimed, identity
from running.compose import composed, place_of
from running.errors import RecipeError
from running.training import run

QUICK = ("experiment=synthetic", "trainer.max_epochs=1")


@pytest.fixture
def train(monkeypatch, tmp_path):
    """What ``train.py`` does with overrides, in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def train(*overrides):
        GlobalHydra.instance().clear()
        ((cfg, hydra),) = composed([[*QUICK, *overrides]])
        check(cfg)
        return run(cfg, place_of(cfg, hydra), [])

    return train


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed=x", "seed must be an integer"),
        ("seed=99999999999", "seed must be at most 4294967295"),
        ("runs=", "runs must be a line of text that is not empty"),
        ("runs=null", "runs must be a line of text that is not empty"),
        ("runs=/proc/x", "cannot be made a folder"),
        ("name=../x", "name must be letters, digits"),
        ("+data.store=", "data.store must be a path, got ''"),
        ("+data.store=null", "data.store must be the folder or URL"),
        ("+data.root=", "data.root must be a path, got ''"),
        ("rerun=maybe", "rerun must be true or false"),
        ("data=null", "data=null: data must be one of av_digits"),
        ("data=1", "data=1: data must be one of av_digits"),
        ("callbacks=nothing", "callbacks must be one of agm"),
        ("=1", "an override is NAME=VALUE"),
        ("modalities=null", "modalities must map each modality"),
        ("modalities.audio=encoders.nothing", "modalities.audio: .*no attribute `nothing`"),
        ("model.lr=abc", r"model: .*\(TypeError\)"),
        ("model.lr=-1", "model: Invalid learning rate"),
        ("model.encoders.audio.widths=[5]", "model: widths must be"),
        ("trainer.accelerator=x", "trainer: .*invalid accelerator"),
        ("trainer.devices=0", "trainer: .*devices"),
        ("+trainer.precision=17", "trainer: Precision 17 is invalid"),
        ("+trainer.limit_val_batches=0", "trainer.limit_val_batches must leave some"),
        ("hydra.run.dir=x", "the folder of a run follows from what it is"),
        ("+trainer.callbacks=[1]", "trainer.callbacks is given by the program"),
        ("+trainer.fast_dev_run=true", "trainer.fast_dev_run leaves no checkpoint"),
        ("+trainer.check_val_every_n_epoch=5", "must be from 1 to trainer.max_epochs, got 5"),
        ("callbacks.inforeg.beta=x", r"callbacks.inforeg: .*\(TypeError\)"),
        ("+callbacks.inforeg.window=x", "callbacks.inforeg: `window` must be"),
        ("callbacks.title=", "callbacks.title must be a line of text"),
        ("callbacks.inforeg=null", "inforeg"),
        # What shows only once a batch is there:
        ("model.num_classes=3", "the run cannot begin: .*nothing was left behind"),
        ("callbacks.inforeg.head=nothing", "the run cannot begin: `head` is 'nothing'"),
        ("+data.num_workers=-1", "the run cannot begin: num_workers"),
        ("+trainer.max_steps=0", "before an epoch was validated"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(train, tmp_path, override, message):
    with pytest.raises((RecipeError, HydraException), match=f"(?s){message}"):
        train(override)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("word", ["no", "off", "'false'", "False"])
def test_no_rerun_keeps_a_finished_run(train, tmp_path, word):
    train()
    (file,) = tmp_path.rglob("result.json")
    before = file.stat().st_mtime_ns
    train(f"rerun={word}")
    assert file.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "override",
    [
        "callbacks.inforeg.head=nothing",  # shows when the training is set up
        "+callbacks.inforeg.target=nothing",  # shows at the first batch
        "trainer.accelerator=x",
    ],
)
def test_rerun_deletes_nothing_before_the_new_run_is_known_to_run(train, tmp_path, override):
    train()
    (file,) = tmp_path.rglob("result.json")
    before = {path: path.read_bytes() for path in file.parent.rglob("*") if path.is_file()}
    ((cfg, _),) = composed([[*QUICK, override, "rerun=true"]])
    ((_, hydra),) = composed([QUICK])

    def replace():
        check(cfg)
        run(cfg, place_of(cfg, hydra), [])

    with pytest.raises(RecipeError):
        replace()
    assert {path: path.read_bytes() for path in file.parent.rglob("*") if path.is_file()} == before


def test_a_rerun_replaces_and_leaves_nothing_of_the_old(train, tmp_path):
    train()
    (file,) = tmp_path.rglob("result.json")
    (file.parent / "history.json").write_text("old")
    train("rerun=yes")
    assert (file.parent / "history.json").read_text() != "old"
    assert {path.name for path in file.parent.parent.iterdir()} == {"seed=0", ".seed=0.lock"}


def test_an_older_run_that_was_set_aside_is_no_run_of_a_report(train, tmp_path):
    from inforeg_lightning.report import load_runs

    train()
    (file,) = tmp_path.rglob("result.json")
    ((cfg, _),) = composed([QUICK])
    with claimed(file.parent, identity(cfg), rerun=True):
        assert load_runs([tmp_path]) == ([], [])


@pytest.mark.filterwarnings("ignore:.*not finite")  # said by the callback, rightly
@pytest.mark.parametrize("method", ["none", "inforeg"])
def test_a_training_that_diverges_ends_early_and_says_so(train, tmp_path, method):
    from inforeg_lightning.report import load_runs

    overrides = (f"callbacks={method}", "model.lr=1e30", "trainer.max_epochs=50")
    result = train(*overrides)
    assert result["epochs"] < 50
    assert result["diverged"].startswith("diverged: in epoch 1 of 50 the training loss is nan")
    assert train(*overrides)["diverged"] == result["diverged"], "it is trained once"
    found, (problem,) = load_runs([tmp_path])
    assert (found, problem.reason) == ([], result["diverged"])
