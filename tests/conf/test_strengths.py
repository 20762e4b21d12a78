"""Pulls by ρ: the library's pull with another strength, and what the study makes of accuracies."""

import json
from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from inforeg_lightning.methods import InfoReg
from running.map.cells import Cell
from running.map.pulls import AfterStep, ByRho, _rate_of_adam
from running.map.remedies import sgd, train
from running.strength_table import steadier, strength_table
from running.strengths import PAPER, SET_UPS, SETTINGS, adamw, complete, judge


@pytest.fixture(scope="module")
def small():
    world = replace(Cell(3, "a much worse", 0.3).world(0), train=128, epochs=3)
    return world, world.draw(0)


def trained(small, method, optimizer=sgd):
    world, data = small
    return train(world, data, 0, method, make_optimizer=optimizer, batch_size=32)


@pytest.mark.parametrize("optimizer", [sgd, adamw])
@pytest.mark.parametrize("make", [ByRho, AfterStep])
def test_no_strength_is_joint_training_and_a_great_one_holds_the_leader(small, make, optimizer):
    joint = trained(small, InfoReg(window="never"), optimizer)
    none = trained(small, make(0, 4), optimizer)
    torch.testing.assert_close(none.log_probabilities, joint.log_probabilities)
    some = trained(small, make(4, 4), optimizer)
    assert not torch.allclose(some.log_probabilities, joint.log_probabilities)


def test_rho_in_the_gradient_is_the_library_s_pull_of_that_strength(small):
    """With SGD, ρ = α · lr / (1 − momentum) · steps: the sum that the history calls ``pull``."""
    history = trained(small, ByRho(4, 4)).history
    led = [pull for entry in history for pull in entry["pull"].values() if pull]
    assert led == pytest.approx([4.0] * len(led), rel=1e-5)
    assert led


def test_a_pull_after_the_step_brings_the_leader_home_and_leaves_the_other(small):
    seen = []

    class Seen(AfterStep):
        def edit(self, step):
            weights = {m: [p.detach().clone() for p in held] for m, held in step.held.items()}
            seen.append((weights, step.modalities[int(step.scores.argmax())]))
            return super().edit(step)

    trained(small, Seen(1e6, 4))
    for epoch in range(3):
        steps = seen[4 * epoch : 4 * epoch + 4]
        anchors = steps[0][0]
        for (before, leader), (after, _) in pairwise(steps):
            for m in "ab":
                home = all(map(torch.equal, after[m], anchors[m]))
                still = all(map(torch.equal, after[m], before[m]))
                assert home if m == leader else not still


def test_the_rate_of_adam_is_its_step_over_the_size_of_its_gradients():
    weight = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.AdamW([weight], lr=0.01)
    assert _rate_of_adam(optimizer, [weight]) is None
    weight.grad = torch.full((3,), 0.5)
    optimizer.step()
    # A constant gradient g moves a weight by lr per step: the rate is lr / g.
    torch.testing.assert_close(_rate_of_adam(optimizer, [weight]), torch.tensor(0.01 / 0.5))


def accuracies(**by_setting):
    return {"accuracy": {name: [by_setting.get(name, 0.5)] for name in SETTINGS}}


def test_regrets_and_where_a_setting_holds():
    first, second = (s.name for s in SET_UPS[:2])
    judged = judge(
        {
            first: accuracies(**{PAPER: 0.52, "ρ = 4": 0.60}),  # half of the best gain is 5 points
            second: accuracies(**{PAPER: 0.498, "ρ = 4": 0.49}),  # nothing to gain
        }
    )
    paper, four = judged["SGD"][PAPER], judged["SGD"]["ρ = 4"]
    assert (paper["holds"], four["holds"], paper["of"]) == (1, 1, 2)
    assert paper["worst regret"] == pytest.approx(8.0)
    assert four["worst regret"] == pytest.approx(1.0)
    assert "AdamW" not in judged
    assert judged["both"] == judged["SGD"]
    table = strength_table({"judged": judged})
    assert "| β = 0.9 | +0.9 | −0.2 |" in table
    assert "does not:\nSGD: ρ = 4; both together: ρ = 4." in table


def test_a_setting_is_steadier_by_its_mean_and_its_worst_regret():
    regrets = {PAPER: (4.0, 20.0), "alike": (4.0, 20.0), "half": (2.0, 10.0), "once": (1.0, 10.1)}
    settings = {n: {"mean regret": m, "worst regret": w} for n, (m, w) in regrets.items()}
    assert steadier(settings) == ["half"]


def test_a_killed_study_goes_on_with_what_is_missing(monkeypatch):
    from running import strengths

    asked = []

    def measure(set_up):
        asked.append(set_up.name)
        return accuracies()

    monkeypatch.setattr(strengths, "measure", measure)
    states = [*complete({"set-ups": {SET_UPS[0].name: accuracies()}}, 1, 3)]
    assert sorted(asked) == sorted(s.name for s in SET_UPS[1:3])
    assert len(states[-1]["set-ups"]) == 3


def test_another_override_is_one_error(monkeypatch, tmp_path, capsys):
    import study

    arguments = ["study.py", "strength", "lr=1", "--out", str(tmp_path / "x.json")]
    monkeypatch.setattr("sys.argv", arguments)
    assert study.main() == 1
    assert "takes no override but set_ups=N" in capsys.readouterr().err
    (tmp_path / "x.json").write_text(json.dumps({})[:-1])
    monkeypatch.setattr("sys.argv", [a for a in arguments if a != "lr=1"])
    assert study.main() == 1
    assert "cannot be read" in capsys.readouterr().err
