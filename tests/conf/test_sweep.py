"""Sweeps over Optuna: what is searched, what is given up, and going on after a kill."""

import json
from types import SimpleNamespace

import optuna
import pytest

from running.errors import RecipeError
from running.sweep import trials
from running.sweep.picture import best_of, draw, table
from running.sweep.pruning import GiveUp, is_held_back
from running.sweep.searching import search
from running.sweep.space import Searched, grid, overrides_of, split
from running.sweep.trials import Sweep, carry_on, summary

BETA, K = "callbacks.inforeg.beta", "callbacks.inforeg.K"
TINY = ["experiment=synthetic", "trainer.max_epochs=1"]


@pytest.fixture
def sweep(tmp_path):
    searched = (Searched(BETA, ("0.1", "0.9")), Searched(K, ("0.01", "0.04")))
    return Sweep("inforeg", ("experiment=synthetic",), searched, (0, 1), tmp_path)


@pytest.fixture
def trained(monkeypatch):
    """Runs that are asked for, instead of trainings; accuracy rises with β and the seed."""
    import running.training

    asked = []

    def run(cfg, place, watchers):
        asked.append((float(cfg.callbacks.inforeg.beta), float(cfg.callbacks.inforeg.K), cfg.seed))
        if len(asked) == run.dies_at:
            raise KeyboardInterrupt
        value = cfg.callbacks.inforeg.beta / 2 + cfg.seed / 10
        for epoch in range(3):
            for watcher in watchers:
                trainer = SimpleNamespace(
                    callback_metrics={"val/accuracy": value}, current_epoch=epoch, max_epochs=3,
                    callbacks=[SimpleNamespace(history=[{"in_window": {"a": run.is_open}}])],
                )  # fmt: skip
                watcher.on_train_epoch_end(trainer, None)
        return {"last": {"val": {"accuracy": value}, "test": {"accuracy": 1 - value}}}

    run.dies_at, run.is_open = None, False
    monkeypatch.setattr(running.training, "run", run)
    return SimpleNamespace(asked=asked, run=run)


def test_overrides_are_split_by_hydra_s_grammar():
    overrides = ["experiment=cremad", f"{BETA}=0.5,0.9", f"{K}=interval(0,0.1)"]
    overrides += ["data.batch_size=choice(8,16)", "++model.lr=tag(log,interval(0.001,0.1))"]
    fixed, searched = split([*overrides, "seed=range(0,3)"])
    assert fixed == ["experiment=cremad"]
    assert searched == [
        Searched(BETA, ("0.5", "0.9")),
        Searched(K, (), 0.0, 0.1),
        Searched("data.batch_size", ("8", "16")),
        Searched("++model.lr", (), 0.001, 0.1, True),
        Searched("seed", ("0", "1", "2")),
    ]
    assert [of.name for of in searched] == ["beta", "K", "batch_size", "lr", "seed"]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["experiment=cremad"], "searches at least one override"),
        ([f"{K}=interval(0.1,0.1)"], "an interval goes up"),
        ([f"{K}=tag(log,interval(0,1))"], "begins above 0"),
        ([f"{K}=interval("], "interval"),
    ],
)
def test_what_cannot_be_searched_is_one_error(overrides, message):
    with pytest.raises(RecipeError, match=message):
        split(overrides)


def test_a_grid_has_every_point_and_an_interval_has_none(sweep):
    points = [*grid(sweep.searched)]
    assert len(points) == 4
    assert overrides_of(points[0]) == (f"{BETA}=0.1", f"{K}=0.01")
    assert grid([*sweep.searched, Searched("x", (), 0.0, 1.0)]) is None
    assert overrides_of({"x": 1 / 3}) == ("x=0.333333",)


def test_every_point_of_a_grid_is_trained_once_with_all_seeds(sweep, trained):
    carry_on(sweep, 99, 1)
    assert sorted(trained.asked) == [
        (b, k, s) for b in (0.1, 0.9) for k in (0.01, 0.04) for s in (0, 1)
    ]
    carry_on(sweep, 99, 1)
    assert len(trained.asked) == 8
    points = summary(sweep)
    assert {of["state"] for of in points} == {"complete"}
    best = best_of(points)
    assert best["params"][BETA] == "0.9"
    assert best["validation"] == pytest.approx([0.45, 0.55])


def test_a_killed_sweep_goes_on_with_what_is_missing(sweep, trained):
    trained.run.dies_at = 4  # in the second seed of the second point
    with pytest.raises(KeyboardInterrupt):
        carry_on(sweep, 99, 1)
    running = sweep.study().get_trials(states=[optuna.trial.TrialState.RUNNING])
    assert len(running) == 1
    first = trained.asked[:2]
    del trained.asked[:]
    trained.run.dies_at = None
    carry_on(sweep, 99, 1)
    assert len(trained.asked) == 6
    assert not {*first} & {*trained.asked}
    assert [of["state"] for of in summary(sweep)] == ["complete"] * 4


def test_an_interval_has_as_many_different_trials_as_are_asked_for(sweep, trained):
    wide = Sweep("inforeg", sweep.fixed, (Searched(BETA, (), 0.1, 0.9),), (0,), sweep.folder)
    carry_on(wide, 3, 1)
    carry_on(wide, 5, 1)
    assert len({beta for beta, _, _ in trained.asked}) == len(trained.asked) == 5
    assert all(0.1 <= beta <= 0.9 for beta, _, _ in trained.asked)


def test_a_point_below_the_median_is_given_up_unless_its_window_is_open(sweep, trained):
    values = ("0.9", "0.8", "0.7", "0.6", "0.1")
    for is_open, last in ((False, "given up"), (True, "complete")):
        beta = Searched(BETA, values)
        many = Sweep("inforeg", (f"name=x{is_open}",), (beta,), (0,), sweep.folder)
        trained.run.is_open = is_open
        carry_on(many, 99, 1)
        points = {of["params"][BETA]: of for of in summary(many)}
        assert [points[v]["state"] for v in values] == ["complete"] * 4 + [last]
        assert points["0.1"]["epochs seen"] == (3 if is_open else 1)
        assert ("below the median" in points["0.1"].get("given up", "")) is not is_open


def test_what_holds_a_run_back_is_read_from_the_last_period():
    def method(*in_window):
        return SimpleNamespace(history=[{"in_window": dict(enumerate(w))} for w in in_window])

    assert not is_held_back([SimpleNamespace(), method()])
    assert is_held_back([method((False, False), (False, True))])
    assert not is_held_back([method((True, True), (False, False))])


def test_an_epoch_without_validation_is_not_reported():
    GiveUp(trial=None).on_train_epoch_end(SimpleNamespace(callback_metrics={}), None)


def test_a_trial_that_cannot_run_is_told_and_tried_again(sweep, trained, monkeypatch):
    def refuse(overrides):
        raise RecipeError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(trials, "composed", refuse)
        carry_on(sweep, 99, 1)
    assert {(of["state"], of["failed"]) for of in summary(sweep)} == {("failed", "no room")}
    assert "no room" in table(summary(sweep), sweep.searched)
    assert best_of(summary(sweep)) is None
    carry_on(sweep, 99, 1)
    assert [of["state"] for of in summary(sweep)] == ["complete"] * 4


def test_the_picture_has_a_square_per_pair_with_its_interval(sweep, trained):
    carry_on(sweep, 99, 1)
    figure = draw(summary(sweep), sweep.searched)
    said = [text.get_text() for text in figure.axes[0].texts]
    assert len(said) == 4
    assert all("±" in text for text in said)
    wide = draw([], [Searched("x", (), 0.001, 1.0, True)])
    assert wide.axes[0].get_xscale() == "log"


def test_a_tiny_sweep_trains_and_writes_its_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    folder = search("inforeg", [*TINY, f"{BETA}=0.1,0.9"], (0,), 9, 1, None)
    assert folder.resolve() == tmp_path / "runs/studies/synthetic/sweep/inforeg"
    result = json.loads((folder / "result.json").read_text())
    assert [of["state"] for of in result["points"]] == ["complete"] * 2
    assert result["best on validation"][BETA] in ("0.1", "0.9")
    assert (folder / "sweep.png").stat().st_size > 5000
    assert len([*(tmp_path / "runs/synthetic").rglob("result.json")]) == 2
    assert "| beta | validation | test |" in capsys.readouterr().out


def test_the_program_says_in_one_sentence_what_is_wrong(tmp_path, monkeypatch, capsys):
    import study

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["study.py", "sweep", *TINY])
    assert study.main() == 1
    assert "searches at least one override" in capsys.readouterr().err
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"pip install 'inforeg-lightning\[sweep\]'"):
        search("inforeg", [*TINY, f"{BETA}=0.1,0.9"], (0,), 9, 1, None)
