"""AutoBalance's confirmation: its worlds, its files of results, and its protocol's verdicts."""

import json
from types import SimpleNamespace

import pytest
import torch

from inforeg_lightning.report import Run
from running import auto_balance_results as results
from running import auto_balance_table as tables
from running import balanced_worlds

ROWS = ("none", "auto_balance", "unimodal_losses", "dgl")
STARVING = ("av_digits", "av_mnist_speakers", "av_mnist_speakers_swapped")


def arguments(**given):
    return SimpleNamespace(**{"methods": None, "seeds": None, "runs": None, "out": None, **given})


def of_set(**gains):
    """Two seeds of each row: joint training has 50 and 60 %, others what they gain."""
    runs = {}
    for row, gain in {"none": 0, **gains}.items():
        for seed, joint in enumerate((0.5, 0.6)):
            runs[f"{row}, seed {seed}"] = {"accuracy": joint + gain / 100}
    return runs


def world(*gains):
    """Two seeds of as many rows as there are gains."""
    accuracies = [{"0": 0.5 + gain / 100, "1": 0.6 + gain / 100} for gain in (0, *gains)]
    return dict(zip(ROWS, accuracies, strict=False))


def kept(**gains):
    found = {part: of_set(**{**dict.fromkeys(ROWS[1:], 20), **gains}) for part in STARVING}
    return {**found, "views": of_set(auto_balance=-0.2)}


@pytest.mark.parametrize(
    ("gain", "verdict"), [(18.1, "reached"), (17.9, "reached in part"), (-20, "not here")]
)
def test_it_is_reached_at_the_bounds_of_the_protocol(gain, verdict):
    found = kept(auto_balance=gain)
    assert f"**{verdict}**" in tables.reached(found)
    del found["av_mnist_speakers"]
    assert "**not told yet**" in tables.reached(found)


def test_an_interval_around_zero_is_not_reached_in_part():
    found = kept()
    found["av_digits"]["auto_balance, seed 0"]["accuracy"] = 0.4
    assert "**not here**" in tables.reached(found)


def test_what_is_lost_where_no_remedy_gains_is_named():
    found, worlds = kept(), {"calm-100": world(0.1, -1)}
    assert "**in all 2**" in tables.still(found, worlds)
    worlds["starving-100"] = world(-5, 2, 0)  # a remedy gains: not judged
    assert "**in all 2**" in tables.still(found, worlds)
    worlds["lower-100"] = world(-0.4, 0.5, 0)
    assert "**not in 1 of 3** (lower −0.4 ± 0.0 (2))" in tables.still(found, worlds)
    del found["views"]
    assert "still missing: six views" in tables.still(found, worlds)
    assert "**not told yet**; still missing: six views, worlds" in tables.still({}, {})


@pytest.mark.parametrize(("behind", "verdict"), [(0.4, "yes"), (0.6, "no")])
def test_it_stands_beside_those_that_are_not_half_a_point_ahead(behind, verdict):
    found = kept(dgl=20 + behind)
    assert f"**{verdict}**" in tables.beside(found)
    del found["views"], found["av_digits"]
    said = tables.beside(found)
    assert ("**not told yet**, in 4 of 6 so far" if verdict == "yes" else "**no**") in said


def test_the_table_pairs_by_seed_and_says_how_many_pairs_there_are():
    found = kept()
    del found["views"]["auto_balance, seed 1"]
    worlds = {"calm-100": world(0.1, -1), "calm-101": world(0.1, -1)}
    lines = tables.table(found, worlds).splitlines()
    assert "| six views | 55.0 ± 63.5 (2) | −0.2 (1) | – | – |" in lines
    assert "| worlds: calm | 55.0 ± 9.2 (4) | +0.1 ± 0.0 (4) | −1.0 ± 0.0 (4) | – |" in lines


def test_verdicts_are_a_list_of_short_lines():
    lines = tables.verdicts(kept(), {"calm-100": world(0.1, -1)}).splitlines()
    assert [line[:3] for line in lines if line[0] != " "] == ["1. ", "2. ", "3. "]
    assert max(map(len, lines)) < 160


def run_of(tmp_path, method, seed, variant="", experiment="views"):
    last = {"test": {"accuracy": 0.75, "accuracy_a": 0.5}, "probe": {"a": 0.25}}
    named = {"experiment": experiment, "method": method, "variant": variant, "seed": seed}
    return Run(tmp_path, {**named, "modalities": ["a"], "last": last})


def test_runs_of_the_sets_are_kept_and_no_others(tmp_path):
    swapped = "data.recipe.train.speakers=[a,b],name=av_mnist_speakers_swapped"
    runs = [
        run_of(tmp_path, "none", 1),
        run_of(tmp_path, "none", 0, "data.root=x"),
        run_of(tmp_path, "none", 2, "model.lr=1"),
        run_of(tmp_path, "none", 3, "data.recipe.train.speakers=[a,b]"),
        run_of(tmp_path, "ogm", 0),
        run_of(tmp_path, "dgl,alpha=1.0", 0),
        run_of(tmp_path, "dgl", 0, experiment="synthetic"),
        run_of(tmp_path, "dgl,alpha=4.0", 4, swapped, "av_mnist_speakers_swapped"),
    ]
    tested = {"accuracy": 0.75, "accuracy_a": 0.5, "probe_a": 0.25}
    assert results.kept_of(runs) == {
        "av_mnist_speakers_swapped": {"dgl, seed 4": tested},
        "views": {"none, seed 0": tested, "none, seed 1": tested},
    }


def test_what_the_file_has_stays():
    first = {"views": {"none, seed 0": {"accuracy": 0.1}, "none, seed 1": {"accuracy": 0.2}}}
    second = {"views": {"none, seed 1": {"accuracy": 0.3}}, "av_digits": {}}
    both = results.merged(first, second)
    assert [*both] == ["av_digits", "views"]
    assert both["views"] == {"none, seed 0": {"accuracy": 0.1}, "none, seed 1": {"accuracy": 0.3}}


def test_joint_training_of_av_digits_is_that_of_the_study():
    joint = results.joint_of_study()["av_digits"]
    assert [*joint] == [f"none, seed {seed}" for seed in range(10)]
    assert joint["none, seed 0"]["accuracy"] == 0.74861


def test_two_worlds_of_each_family_and_six_beside_a_third():
    found = balanced_worlds.judged_worlds()
    families = [world.family for world in found]
    together = balanced_worlds.TOGETHER
    assert {families.count(family) for family in {*families} - {together}} == {2}
    assert families.count(together) == 6
    assert min(world.number for world in found) == 100  # the choice saw those below
    assert len({world.name for world in found}) == len(found)


def test_beside_a_third_the_two_say_nothing_alone():
    world = balanced_worlds.judged_worlds()[-1]
    batch = world.draw(0)["test"]
    far = {}
    for name in world.sources:
        means = [batch[name][batch["label"] == label].mean(0) for label in range(world.classes)]
        far[name] = float((means[0] - means[1]).norm())
    assert max(far["a"], far["b"]) < 0.9 < 2 < far["c"]


def test_a_world_is_trained_by_every_row_once_and_gone_on_with(tmp_path, monkeypatch):
    from dataclasses import replace

    from studies.auto_balance_worlds import carry_out

    small = replace(balanced_worlds.judged_worlds()[1], train=64, epochs=2, held_out=64)
    monkeypatch.setattr(balanced_worlds, "judged_worlds", lambda: [small])
    threads = torch.get_num_threads()
    try:
        place = tmp_path / "kept.json"
        assert carry_out(arguments(out=place)) == 0
        (found,) = json.loads(place.read_text()).values()
        assert [*found] == ["none", *balanced_worlds.METHODS]
        assert {len(of) for of in found.values()} == {3}
        assert found["none"] != found["unimodal_losses"]
        monkeypatch.setattr(balanced_worlds, "accuracies", lambda *_: pytest.fail("trained"))
        assert carry_out(arguments(out=place)) == 0
    finally:
        torch.set_num_threads(threads)


def test_finished_runs_go_into_file_and_picture(tmp_path, monkeypatch):
    from inforeg_lightning import report
    from studies.auto_balance_results import carry_out

    names = ("share", "weight", "factor")
    history = [{"epoch": t, **{name: {"a": 0.5} for name in names}} for t in range(2)]
    run = run_of(tmp_path, "auto_balance", 0, experiment="av_digits")
    run = Run(run.folder, run.result, history)
    monkeypatch.setattr(report, "load_runs", lambda roots: ([run], []))
    monkeypatch.setattr(results, "RESULTS", tmp_path / "auto_balance.json")
    monkeypatch.setattr(results, "joint_of_study", dict)
    assert carry_out(arguments(out=tmp_path / "out")) == 0
    written = json.loads((tmp_path / "out" / "auto_balance.json").read_text())
    assert [*written["av_digits"]] == ["auto_balance, seed 0"]
    assert (tmp_path / "out" / "auto_balance.png").stat().st_size > 5_000
