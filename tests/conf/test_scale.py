"""The study of many modalities: its generated family, its runs, and that it goes on."""

import itertools
import json
from functools import partial
from statistics import NormalDist

import pytest
import torch

from helpers.view_files import write_views
from inforeg_lightning.core import GAPS


@pytest.fixture
def generated():
    from running.scale.families import Generated

    return partial(Generated, train=96, test=64, sizes=(2, 4), epochs=2)


def test_what_a_generated_modality_knows_is_that_of_ten_orthogonal_signals(generated):
    """Of the plain ones there is a closed form: the largest of ten normal variables."""
    family = generated()
    normal, step = NormalDist(), 0.01
    for name in ("m00", "m10"):
        mu = family.modalities[name].strength
        points = [mu + step * k for k in range(-800, 801)]
        expected = sum(step * normal.pdf(x - mu) * normal.cdf(x) ** 9 for x in points)
        assert family.bayes([name]) == pytest.approx(expected, abs=0.015)
    assert family.bayes(["m00", "m01"]) > max(family.bayes(["m00"]), family.bayes(["m01"]))


def test_the_modalities_of_a_smaller_task_are_among_those_of_a_larger(generated, tmp_path):
    from running.scale.families import SixViews

    for family in (generated(), SixViews(tmp_path)):
        for seed in (0, 1):
            chosen = [set(family.chosen(size, seed)) for size in family.sizes]
            assert [len(names) for names in chosen] == [*family.sizes]
            assert all(a < b for a, b in itertools.pairwise(chosen))
    kinds = [generated().modalities[name].folded for name in generated().chosen(8, 0)]
    assert sum(kinds) == 4


def test_measuring_changes_no_bit_and_arms_begin_alike(generated):
    """Joint training is what InfoReg is that never acts, and arms differ by their gap alone."""
    from running.scale import training

    family = generated()
    splits, names = family.draw(0), family.chosen(4, 0)
    train = partial(training._train, family, splits, names, 0)
    joint, never = train(), train("never weaker")
    weights = [dict(of.model.named_parameters()) for of in (joint, never)]
    assert all(torch.equal(p, weights[1][n]) for n, p in weights[0].items())
    regulated = [train(f"always {gap}").model.head.weight for gap in GAPS]
    assert not torch.equal(regulated[0], joint.model.head.weight)
    assert not torch.equal(regulated[0], regulated[1])
    found = joint.meter.means()
    assert found["strongest"][0] == pytest.approx(1 / 4)
    assert found["weaker"][0] == pytest.approx(3 / 4)
    assert 1 <= found["others"][2] <= 2.46


@pytest.fixture
def study(monkeypatch, tmp_path, generated):
    from running.scale import families, training
    from studies import scale

    views = partial(families.SixViews, sizes=(2, 3), epochs=1)
    monkeypatch.setattr(families, "Generated", generated)
    monkeypatch.setattr(families, "SixViews", views)
    monkeypatch.setattr(training, "price", partial(training.price, rounds=10))

    def run(*overrides, seeds=(0, 1)):
        class Arguments:
            workers, out = 1, tmp_path / "scale.json"

        Arguments.overrides, Arguments.seeds = overrides, seeds
        return scale.STUDY.carry_out(Arguments)

    return run


@pytest.mark.filterwarnings("ignore:Ill-conditioned matrix")
def test_the_study_ends_in_tables_and_a_picture_and_goes_on(study, tmp_path, capsys, monkeypatch):
    from running.scale import training

    write_views(tmp_path / "views")
    assert study(f"data.root={tmp_path / 'views'}") == 0
    printed = capsys.readouterr().out
    assert "| M | known | joint |" in printed
    assert "six views, throughout, strongest" in printed
    assert (tmp_path / "scale.png").stat().st_size > 10_000
    content = json.loads((tmp_path / "scale.json").read_text())
    assert len(content["cells"]) == 2 * 2 * 3
    cell = content["cells"]["generated, M=4, seed=1"]
    assert [*cell] == training.arms(4)
    assert all(0 <= of["accuracy"] <= 1 for of in cell.values())
    assert set(content["prices"]["six views"]["3"]) == {"inside", "outside"}

    monkeypatch.setattr(training, "train_cell", lambda *_: pytest.fail("trained again"))
    assert study(f"data.root={tmp_path / 'views'}") == 0
    assert capsys.readouterr().out == printed


def test_lack_and_imbalance_are_of_probes_against_encoders_alone():
    from running.scale.tables import values

    cell = {"joint": {"accuracy": 0.5, "probe": {"a": 0.4, "b": 0.5}}}
    alone = {"a": 0.6, "b": 0.45, "c": 0.9}
    content = {"seeds": [0, 1], "cells": {"f, M=2, seed=0": cell, "f, alone, seed=0": alone}}
    of = partial(values, content, "f", 2, "joint")
    assert of("accuracy") == {0: 50.0}
    assert of("lack") == {0: pytest.approx((20 - 5) / 2)}
    assert of("imbalance") == {0: pytest.approx(25)}


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.lr=1", "takes data.root=FOLDER alone"),
        ("data.root=nowhere", "Multiple Features lacks mfeat-fac"),
    ],
)
def test_what_cannot_run_is_one_sentence(study, capsys, override, said):
    assert study(override) == 1
    assert said in capsys.readouterr().err
