"""Which runs are the same, and who may write into a run folder."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from inforeg_lightning.report.folder import write_result
from running.checks import switch
from running.claim import claimed, identity, is_locked
from running.compose import place_of
from running.errors import RecipeError


def _identity(composed, *overrides):
    return identity(composed("experiment=synthetic", *overrides))


def _finish(folder, identity):
    folder.mkdir(parents=True, exist_ok=True)
    part = {"test": {"accuracy": 0.5}}
    result = {
        "experiment": "synthetic",
        "method": "none",
        "title": "Joint training",
        "seed": 0,
        "modalities": ["audio", "image"],
        "epochs": 1,
        "config": identity,
        "last": part,
        "best": part,
    }
    write_result(folder, result)
    return result


def test_a_method_without_a_parameter_is_one_run_whatever_its_value(composed):
    searched = ["callbacks.inforeg.beta=0.5", "callbacks.inforeg.K=0.02"]
    none, adaptive, paper, official = "none", "inforeg_adaptive", "inforeg", "inforeg_official"

    def same(method, override):
        method = f"callbacks={method}"
        return _identity(composed, method) == _identity(composed, method, override)

    assert [same(none, override) for override in searched] == [True, True]
    assert [same(official, override) for override in searched] == [True, True]
    assert [same(adaptive, override) for override in searched] == [False, True]
    assert [same(paper, override) for override in searched] == [False, False]


@pytest.mark.parametrize(
    "override",
    [
        "+data.root=x",
        "+data.store=x",
        "+data.download=true",
        "+data.num_workers=2",
        "runs=x",
        "rerun=true",
    ],
)
def test_what_changes_no_number_changes_no_identity(composed, override):
    assert _identity(composed, override) == _identity(composed)


@pytest.mark.parametrize("override", ["seed=1", "model.lr=1", "threads=2", "trainer.max_epochs=9"])
def test_what_changes_numbers_changes_the_identity(composed, override):
    assert _identity(composed, override) != _identity(composed)


def test_a_finished_run_is_kept_and_only_rerun_replaces_it(composed, tmp_path):
    run, folder = _identity(composed), tmp_path / "seed=0"
    result = _finish(folder, run)
    with claimed(folder, run, rerun=False) as claim:
        assert claim.there == json.loads(json.dumps(result))
    with claimed(folder, run, rerun=True) as claim:
        assert claim.there is None
        assert not (folder / "result.json").exists()


def test_a_finished_run_of_another_configuration_is_an_error_that_says_what_differs(
    composed, tmp_path
):
    _finish(tmp_path / "seed=0", _identity(composed))
    other = _identity(composed, "model.lr=0.5")
    with (
        pytest.raises(RecipeError, match=r"model.lr: 0.05 there, 0.5 here.*rerun=true"),
        claimed(tmp_path / "seed=0", other, rerun=False),
    ):
        pytest.fail("claimed")
    assert (tmp_path / "seed=0" / "result.json").exists()


def test_a_result_that_cannot_be_read_is_an_error_and_stays(composed, tmp_path):
    (tmp_path / "seed=0").mkdir()
    file = tmp_path / "seed=0" / "result.json"
    file.write_text('{"seed": ')
    with (
        pytest.raises(RecipeError, match=r"is not valid JSON.*rerun=true"),
        claimed(tmp_path / "seed=0", _identity(composed), rerun=False),
    ):
        pytest.fail("claimed")
    assert file.read_text() == '{"seed": '


def test_leftovers_of_an_unfinished_run_go_and_other_files_stay(composed, tmp_path):
    folder = tmp_path / "seed=0"
    (folder / "checkpoints").mkdir(parents=True)
    for name in ("metrics.csv", "history.json", "notes.txt", "checkpoints/best.ckpt"):
        (folder / name).write_text("old")
    with claimed(folder, _identity(composed), rerun=False) as claim:
        assert claim.there is None
        assert [path.name for path in folder.iterdir()] == ["notes.txt"]


def test_a_folder_that_is_given_up_leaves_nothing(composed, tmp_path):
    with claimed(tmp_path / "runs/none/seed=0", _identity(composed), rerun=False) as claim:
        (claim.folder / "config.yaml").write_text("")
        claim.vacate()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_other_files_is_given_up_without_them(composed, tmp_path):
    (tmp_path / "seed=0").mkdir()
    (tmp_path / "seed=0" / "notes.txt").write_text("mine")
    with claimed(tmp_path / "seed=0", _identity(composed), rerun=False) as claim:
        claim.vacate()
    assert (tmp_path / "seed=0" / "notes.txt").read_text() == "mine"


HOLD = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from running.claim import claimed
with claimed(Path(sys.argv[2]), {}, False):
    print(flush=True)
    time.sleep(600)
"""


def test_a_folder_is_had_by_one_process_and_the_lock_goes_with_it(composed, tmp_path):
    folder, run = tmp_path / "seed=0", _identity(composed)
    programs = Path(sys.modules["running"].__file__).parents[1]
    command = [sys.executable, "-c", HOLD, programs, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        assert is_locked(folder)
        try:
            with (
                pytest.raises(RecipeError, match=r"another process trains this run; wait"),
                claimed(folder, run, rerun=True),
            ):
                pytest.fail("claimed")
        finally:
            process.kill()
    assert not is_locked(folder)
    with claimed(folder, run, rerun=False) as claim:
        assert claim.there is None


@pytest.mark.parametrize(
    ("overrides", "folder"),
    [
        ([], "runs/synthetic/inforeg,beta=0.9,K=0.04/seed=0"),
        (["callbacks=none", "callbacks.inforeg.beta=0.5"], "runs/synthetic/none/seed=0"),
        (
            ["callbacks=inforeg_adaptive", "callbacks.inforeg.beta=0.5", "seed=3", "runs=other"],
            "other/synthetic/inforeg_adaptive,beta=0.5/seed=3",
        ),
        (["model.lr=0.1"], "runs/synthetic/inforeg,beta=0.9,K=0.04/model.lr=0.1/seed=0"),
        (["callbacks=none", "+data.x=/../.."], "runs/synthetic/none/+data.x=_.._../seed=0"),
    ],
)
def test_a_run_has_a_folder_of_its_own_below_runs(composed, overrides, folder):
    cfg = composed("experiment=synthetic", *overrides, hydra=True)
    assert place_of(cfg, cfg.hydra).folder == Path(folder)


def test_a_very_long_list_of_overrides_is_a_folder_too(composed):
    names = []
    for last in "ab":
        cfg = composed("experiment=synthetic", f"+data.x={'x' * 300}{last}", hydra=True)
        (name,) = place_of(cfg, cfg.hydra).folder.parts[3:-1]
        names.append(name)
    assert all(len(name.encode()) <= 255 for name in names)
    assert len({*names}) == 2


@pytest.mark.parametrize("value", [False, "no", "off", "false", "No", "OFF"])
def test_no_is_no(value):
    assert switch("rerun", value) is False


@pytest.mark.parametrize("value", [True, "yes", "on", "true"])
def test_yes_is_yes(value):
    assert switch("rerun", value) is True


@pytest.mark.parametrize("value", ["maybe", "", None, 1, 0, "1"])
def test_what_is_neither_is_an_error(value):
    with pytest.raises(RecipeError, match="rerun must be true or false, got"):
        switch("rerun", value)
