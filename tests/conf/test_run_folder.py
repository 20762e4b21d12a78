import json

import pytest


def _identity(composed, *overrides):
    from run_folder import identity

    return identity(composed("experiment=synthetic", *overrides))


def _finish(folder, identity):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps({"config": identity}))


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
    from run_folder import claim

    run = _identity(composed)
    _finish(tmp_path, run)
    assert claim(tmp_path, run, rerun=False) == {"config": json.loads(json.dumps(run))}
    assert claim(tmp_path, run, rerun=True) is None
    assert not (tmp_path / "result.json").exists()


def test_a_finished_run_of_another_configuration_is_an_error_that_says_what_differs(
    composed, tmp_path
):
    from checks import RecipeError
    from run_folder import claim

    _finish(tmp_path, _identity(composed))
    other = _identity(composed, "model.lr=0.5")
    with pytest.raises(RecipeError, match=r"model.lr: 0.05 there, 0.5 here.*rerun=true"):
        claim(tmp_path, other, rerun=False)
    assert (tmp_path / "result.json").exists()


def test_leftovers_of_an_unfinished_run_go_and_other_files_stay(composed, tmp_path):
    from run_folder import claim

    (tmp_path / "checkpoints").mkdir()
    for name in ("metrics.csv", "history.json", "notes.txt", "checkpoints/best.ckpt"):
        (tmp_path / name).write_text("old")
    assert claim(tmp_path, _identity(composed), rerun=False) is None
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


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
    ],
)
def test_a_single_run_and_a_job_of_a_sweep_have_the_same_folder(composed, overrides, folder):
    from pathlib import Path

    hydra = composed("experiment=synthetic", *overrides, hydra=True).hydra
    assert Path(hydra.run.dir) == Path(hydra.sweep.dir) / hydra.sweep.subdir == Path(folder)
