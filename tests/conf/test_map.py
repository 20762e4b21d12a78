"""The map: its worlds, its rows by the library, and what a position on it says."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from inforeg_lightning.diagnosis import Diagnosis
from inforeg_lightning.diagnosis.suspicions import SuspicionThresholds, suspect
from inforeg_lightning.methods import InfoReg, Monitor
from running.kept import KeptError, as_text
from running.map import completing, reading
from running.map.cells import COMPLETION, GENERALISES, SLOWNESS, Cell, all_cells
from running.map.completing import MapError, carry_on
from running.map.judging import judge, verdicts, with_gains
from running.map.measuring import ELSEWHERE, ROWS
from running.map.page import map_tables
from running.map.placing import COORDINATES, DIAGNOSIS, NoPlaceError, by_diagnosis, place
from running.map.remedies import JOINT, REMEDIES, train
from running.truth.families import all_worlds

RESULTS = Path(__file__).resolve().parents[2] / "experiments" / "results"


def made_up(seeds=6, noise=0.002):
    """A map on which what helps follows from the position, but for one remedy, which harms."""
    rng = np.random.default_rng(0)
    cells = {}
    for cell in all_cells():
        starves = cell.slowness * (1 - cell.completion) * (cell.generalises == "a much worse") / 50
        by_row = {row: 0.7 + starves * (row != JOINT) for row in ROWS}
        by_row["inforeg"] = 0.7 - 0.02
        cells[cell.name] = {
            "accuracy": {
                r: [x + noise * rng.normal() for _ in range(seeds)] for r, x in by_row.items()
            },
            **{
                kind: {c: [starves + 0.001 * rng.normal()] * seeds for c in names}
                for kind, names in COORDINATES.items()
            },
        }
    return {"seeds": [*range(seeds)], "cells": cells}


def test_there_are_64_cells_that_differ_in_three_properties():
    cells = all_cells()
    assert len({cell.name for cell in cells}) == len(cells) == 64
    for name, values in (
        ("slowness", SLOWNESS),
        ("generalises", GENERALISES),
        ("completion", COMPLETION),
    ):
        assert {getattr(cell, name) for cell in cells} == {*values}


def test_the_worlds_of_a_seed_share_prototypes_and_differ_as_their_cells_say():
    plain = Cell(1, "both well", 0.0).world(0)
    data, same = plain.draw(0), plain.draw(0)
    assert all(torch.equal(data["test"][k], same["test"][k]) for k in data["test"])
    slow = Cell(5, "both well", 0.0).world(0).draw(0)
    assert torch.equal(slow["train"]["a"], data["train"]["a"])
    torch.testing.assert_close(5 * slow["train"]["b"], data["train"]["b"])
    assert not torch.equal(
        Cell(1, "both well", 0.0).world(1).draw(0)["train"]["a"], data["train"]["a"]
    )


@pytest.mark.parametrize("completion", [0.0, 0.9])
def test_completion_is_the_part_of_samples_in_which_one_shows_only_noise(completion):
    world = Cell(1, "both well", completion).world(0)
    batch = world.draw(0)["test"]
    lacks = {}
    for name in "ab":
        # Far from noise around zero along the direction of its class, or not.
        means = torch.stack([batch[name][batch["label"] == c].mean(dim=0) for c in range(6)])
        ahead = (batch[name] * torch.nn.functional.normalize(means, dim=1)[batch["label"]]).sum(1)
        lacks[name] = (ahead < world.sources[name].strength / 2).float().mean()
        assert lacks[name] == pytest.approx(0.04 + completion / 2, abs=0.05)
    assert len(batch["label"]) == 4000
    assert len(world.draw(0)["validation"]["label"]) == 400


def test_a_monitor_leaves_joint_training_as_it_is_and_alone_is_without_the_other():
    world = Cell(3, "a much worse", 0.3).world(0)
    data = world.draw(0)
    plain = train(world, data, 0)
    watched, never = (
        train(world, data, 0, Monitor()),
        train(world, data, 0, InfoReg(window="never")),
    )
    assert torch.equal(plain.log_probabilities, watched.log_probabilities)
    assert torch.equal(plain.log_probabilities, never.log_probabilities)
    assert all(0 <= watched.history[-1]["share"][m] <= 1 for m in "ab")
    without_a = {s: {**b, "a": torch.zeros_like(b["a"])} for s, b in data.items()}
    alone = train(world, data, 0, kept="b")
    assert not torch.equal(alone.log_probabilities, plain.log_probabilities)
    assert torch.equal(
        alone.log_probabilities, train(world, without_a, 0, kept="b").log_probabilities
    )


@pytest.mark.slow
def test_a_killed_map_goes_on_and_a_row_is_trained_anew(tmp_path, monkeypatch, capsys):
    calls = []

    def measured(cell, seeds, known):
        calls.append((cell.name, [*known.get("accuracy", {})]))
        if len(calls) == 2 and killed:
            raise KeyboardInterrupt
        return whole[cell.name]

    whole, killed, file = made_up(2)["cells"], True, tmp_path / "map.json"
    monkeypatch.setattr(completing, "measure_cell", measured)
    with pytest.raises(KeyboardInterrupt):
        carry_on(file, (0, 1), (), 1, ["cells=3"])
    assert len(json.loads(file.read_text())["cells"]) == 1
    killed = False
    assert carry_on(file, None, (), 1, ["cells=3"]) == 0
    assert [name for name, _ in calls[2:]] == [cell.name for cell in all_cells()[1:3]]
    assert "AutoBalance" in capsys.readouterr().out
    del calls[:]
    assert carry_on(file, None, ("dgl",), 1, ["cells=3"]) == 0
    assert [rows for _, rows in calls] == [[row for row in ROWS if row != "dgl"]] * 3
    assert carry_on(file, None, (), 1, ["cells=3"]) == 0
    assert len(calls) == 3
    for wrong, message in (
        (((3,), (), []), "--seeds"),
        ((None, ("x",), []), "no row 'x'"),
        ((None, (), ["lr=1"]), "no override but cells=N"),
    ):
        with pytest.raises(MapError, match=message):
            carry_on(file, wrong[0], wrong[1], 1, wrong[2])
    file.write_text("{")
    with pytest.raises(KeptError, match="cannot be read"):
        carry_on(file, None, (), 1)


@pytest.mark.slow
def test_two_cells_by_the_program(tmp_path):
    file = tmp_path / "map.json"
    assert carry_on(file, (0,), (), 1, ["cells=1"]) == 0
    (of,) = json.loads(file.read_text())["cells"].values()
    assert {*of["accuracy"]} == {*ROWS}
    assert {*of[DIAGNOSIS]} == {*COORDINATES[DIAGNOSIS]}
    # `a` generalises badly here, and all alike see the same data: the starved world of the map.
    assert of["accuracy"]["ensemble"][0] > of["accuracy"][JOINT][0] > 1 / 6


def test_gains_harms_and_what_a_position_is_worth():
    content = made_up()
    judged = judge(content)
    assert judged["remedies"]["inforeg"]["harms"] == 64
    assert judged["remedies"]["inforeg"]["below the bound"] == 64
    dgl = judged["remedies"]["dgl"]
    assert dgl["harms"] == 0
    assert 10 <= dgl["gains"] <= 16
    assert dgl["correlation with the table"] > 0.3
    said = verdicts(content["cells"], "dgl")
    assert {n for n, v in said.items() if v == "gains"} <= {
        c.name for c in all_cells() if c.generalises == "a much worse"
    }
    for of in judged["left out"].values():
        assert of["error"] < of["error of one answer"] / 2
        assert of["regret"][1] < of["regret of joint training"][1] / 2


def test_a_map_under_way_is_judged_by_the_seeds_that_all_cells_have():
    whole, part = made_up(3), made_up(3)
    first = next(iter(part["cells"].values()))
    for of in first.values():
        for name, values in of.items():
            of[name] = [*values, 9.0]
    assert judge(part) == judge(whole)


def test_a_model_that_is_a_cell_is_placed_there_and_one_far_off_is_off():
    cells = with_gains(made_up()["cells"])
    name = Cell(5, "a much worse", 0.0).name
    placed = place(cells[name][DIAGNOSIS], cells)
    assert (placed.neighbours[0].cell, placed.neighbours[0].distance) == (name, 0)
    assert not placed.is_off
    assert [*placed.gains.values()] == sorted(placed.gains.values(), reverse=True)
    assert place(dict.fromkeys(COORDINATES[DIAGNOSIS], 9.0), cells).is_off


def test_a_diagnosis_says_what_helped_near_it(tmp_path):
    file = tmp_path / "map.json"
    file.write_text(as_text(made_up()))
    cases = json.loads((RESULTS / "worked_cases.json").read_text())
    case = Diagnosis.from_dict(cases["AV-Digits"])
    said = " ".join(reading.of_diagnosis(case, file).split())
    assert "it lies nearest to: b " in said
    assert "What helped there, in points" in said
    assert "What did harm there: InfoReg, the paper's window −2.0" in said
    assert "study.py map makes it" in reading.of_diagnosis(case, tmp_path / "none.json")
    unknown = Diagnosis.from_dict(case.to_dict() | {"evidence": case.evidence | {"table": None}})
    assert "left on the table was not measured" in reading.of_diagnosis(unknown, file)


def test_a_monitor_says_it_too(tmp_path):
    file = tmp_path / "map.json"
    file.write_text(as_text(made_up()))
    world = Cell(5, "a much worse", 0.0).world(0)
    history = train(world, world.draw(0), 0, Monitor()).history
    suspicions = suspect(history, ["a", "b"], SuspicionThresholds())
    assert "it lies nearest to" in " ".join(reading.of_monitor(suspicions, file).split())
    without = suspect([without_probe(history[-1])], ["a", "b"], SuspicionThresholds())
    assert "probe was not measured" in " ".join(reading.of_monitor(without, file).split())


def without_probe(entry):
    return entry | {"probe": {"a": None, "b": None}, "fused": None}


def test_names_and_number_of_modalities_have_no_say():
    evidence = {
        "over_chance": {"x": [0.3, 0, 1], "y": [0.6, 0, 1]},
        "probe": {"x": [-0.1, 0, 0], "y": [0, 0, 0]},
        "gain": [-0.1, 0, 0],
        "table": [0.2, 0, 0],
    }
    turned = {
        **evidence,
        "over_chance": {"p": [0.6, 0, 1], "q": [0.3, 0, 1], "r": [0.4, 0, 1]},
        "probe": {"p": [0, 0, 0], "q": [-0.1, 0, 0], "r": [0, 0, 0]},
    }
    assert by_diagnosis(evidence, 0.1) == by_diagnosis(turned, 0.1)
    with pytest.raises(NoPlaceError, match="fused − best alone was not measured"):
        by_diagnosis({**evidence, "gain": None}, 0.1)


def test_worlds_elsewhere_are_worlds_that_no_rule_was_tuned_on():
    known = {world.name for world in all_worlds()}
    assert len({*ELSEWHERE}) == len(ELSEWHERE) == 30
    assert {*ELSEWHERE} <= known
    assert all(int(name.rpartition("-")[2]) >= 100 for name in ELSEWHERE)


def test_the_picture_has_a_panel_for_every_remedy_and_completion():
    from running.map.figure import draw

    figure = draw(made_up())
    assert len(figure.axes) == len(COMPLETION) * (len(REMEDIES) + 1) + 1  # and the colours


def test_the_page_has_every_remedy():
    content = made_up()
    text = map_tables({**content, "judged": judge(content)})
    assert all(f"| {remedy.title} |" in text for remedy in REMEDIES.values())
    assert max(map(len, text.splitlines())) < 160
