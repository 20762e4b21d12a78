"""Worlds of real data: drawn alike by anyone, spoilt as they say, judged by today's rules."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from inforeg_lightning.diagnosis.setup import ALONE, JOINT, LOSSES, Job
from running.truth.judging_real import judge_all
from running.truth.networks import Networks
from running.truth.one_by_one import OneByOne, networks_of
from running.truth.real import COPY, FEW, HALVES, NOISE, SHUFFLED, RealWorld, real_worlds
from running.truth.real_data import DIGITS, SHAPES, pools
from running.truth.signals import alignment, area
from studies.real_worlds import STUDY

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results" / "real_worlds.json"
BOTH = {"av_mnist": "x", "multiple_features": "y"}


def world(kind, views=("top", "bottom"), **settings):
    return RealWorld(DIGITS, kind, 0, views, **settings)


def test_there_are_59_worlds_and_those_whose_folder_is_not_given_are_left_out():
    worlds = real_worlds(BOTH)
    assert len(worlds) == len({w.name for w in worlds}) == len({w.seed for w in worlds}) == 59
    assert {w.data for w in real_worlds()} == {"AV-Digits", "digits"}
    for each in worlds:
        assert {*each.sources} <= {*SHAPES[each.data]}


@pytest.mark.parametrize("each", [w for w in real_worlds() if w.data == DIGITS], ids=str)
def test_a_world_is_drawn_alike_and_no_test_sample_is_trained_on(each):
    one, same, of_oracle = each.draw(0), each.draw(0), each.draw(101, 4000)
    assert {m: x.shape[1:] for m, x in one["test"].items() if m != "label"} == each.shapes
    assert all(torch.equal(one[s][k], same[s][k]) for s in one for k in one[s])
    sizes = [len(of["label"]) for of in one.values()]
    assert sizes[0] == each.train
    assert sizes[1] + sizes[2] == len(of_oracle["test"]["label"]) or each.kind == FEW
    assert torch.equal(one["train"]["label"], of_oracle["train"]["label"])


def test_how_a_view_is_spoilt():
    noise = world(NOISE).draw(0)["test"]["bottom"]
    assert float(noise.std()) == pytest.approx(1.0, abs=0.02)
    copy = world(COPY).draw(0)["test"]
    assert float((copy["bottom"] - copy["top"]).std()) == pytest.approx(0.5, abs=0.02)
    shuffled = world(SHUFFLED).draw(0)["test"]
    known = {tuple(x.tolist()): y for x, y in _pairs("bottom")}
    shown = torch.tensor([known[tuple(x.tolist())] for x in shuffled["bottom"]])
    assert float((shown == shuffled["label"]).float().mean()) < 0.2
    assert torch.equal(shown.bincount(), shuffled["label"].bincount())


def test_of_halves_each_view_comes_from_a_sample_of_the_same_group():
    batch = world(HALVES).draw(0)["train"]
    known = {tuple(x.tolist()): y for x, y in _pairs("top")}
    shown = torch.tensor([known[tuple(x.tolist())] for x in batch["top"]])
    assert torch.equal(shown // 5, batch["label"] // 5)
    assert not torch.equal(shown, batch["label"])


def _pairs(view):
    samples = pools(DIGITS, "")["all"]
    return zip(samples[view], samples["label"].tolist(), strict=True)


def test_networks_one_by_one_stand_in_for_those_at_once():
    pictures = replace(real_worlds()[0], train=32)
    jobs = [Job(JOINT, 101), Job(ALONE, 101, "audio")]
    assert isinstance(networks_of(world("as it is"), jobs[:1]), Networks)
    networks = networks_of(pictures, jobs)
    assert isinstance(networks, OneByOne)
    generator = torch.Generator().manual_seed(0)
    batch = {m: torch.randn(32, *s, generator=generator) for m, s in pictures.shapes.items()}
    batch["label"] = torch.arange(32) % 10
    before = [p.clone() for p in networks.networks[1].encoders["image"].parameters()]
    networks.fit(batch, 1, 0.05)
    features = networks.features(networks.for_all(batch))
    assert [x.shape[:2] for x in features] == [(2, 32), (2, 32)]
    assert bool(features[0][1].any())
    assert not bool(features[1][1].any())  # image is held where audio is alone, and not trained
    after = networks.networks[1].encoders["image"].parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert networks.head(features).shape == (2, 32, 10)
    with pytest.raises(ValueError, match="no use for unimodal losses"):
        OneByOne(pictures, [Job(LOSSES, 1)])


def test_the_committed_judgement_is_that_of_today_s_rules():
    content = json.loads(RESULTS.read_text(encoding="utf-8"))
    names = {w.name for w in real_worlds(BOTH)}
    assert {*content["answers"]} == {*content["evidence"]} == {*content["seen"]} <= names
    kept = (content[name] for name in ("answers", "evidence", "seen"))
    assert judge_all(*kept) == content["judged"]


def test_a_folder_that_is_not_there_is_one_sentence(capsys):
    from argparse import Namespace

    asked = Namespace(overrides=["av_mnist=nowhere"], out=None, workers=1)
    assert STUDY.carry_out(asked) == 1
    said = capsys.readouterr().err
    assert "this study takes av_mnist=FOLDER and multiple_features=FOLDER" in said


@pytest.mark.parametrize(
    ("word", "file"),
    [("av_mnist", "t10k-images-idx3-ubyte"), ("multiple_features", "mfeat-fou")],
)
def test_a_folder_without_the_set_costs_nothing_that_takes_time(
    tmp_path, capsys, monkeypatch, word, file
):
    from argparse import Namespace

    from running.truth import judging_real

    monkeypatch.setattr(judging_real, "complete", lambda *_: pytest.fail("it was measured"))
    asked = Namespace(overrides=[f"{word}={tmp_path}"], out=tmp_path / "found.json", workers=1)
    assert STUDY.carry_out(asked) == 1
    said = capsys.readouterr().err
    assert file in said
    assert f"Expected below root={tmp_path}" in said
    assert not asked.out.exists()


def test_the_area_under_a_curve_and_the_alignment_of_a_kernel():
    assert area([2.0, 3.0], [1.0]) == 1.0
    assert area([1.0], [1.0, 0.0]) == 0.75
    label = torch.arange(30) % 3
    assert alignment(torch.eye(3)[label], label) == pytest.approx(1.0)
    noise = torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    assert alignment(noise, label) < 0.3
