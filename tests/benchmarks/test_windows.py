"""Simulated traces are what they are called, and windows are judged by what is learnt."""

import json
from pathlib import Path

import numpy as np
import pytest

from helpers.programs import run_program

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import windows

    return windows


def trace(benchmark, learnt, seen=None):
    learnt = np.array(learnt, dtype=float)
    return benchmark.Trace("x", learnt if seen is None else seen, learnt / learnt.sum())


@pytest.mark.parametrize(
    ("is_open", "said"),
    [
        ("1111100000", "right"),
        ("1110100000", "right"),  # to open once again is no flicker
        ("0000000000", "never opens"),
        ("1000000000", "too soon"),
        ("1111111111", "too late"),
        ("1010100000", "flickers"),
    ],
)
def test_outcomes(benchmark, is_open, said):
    of = trace(benchmark, [3, 3, 2, 1, 1, 0, 0, 0, 0, 0])
    assert benchmark.outcome([letter == "1" for letter in is_open], of) == said


def test_a_window_sees_only_the_past(benchmark):
    rng = np.random.default_rng(0)
    of = benchmark.draw("two peaks", 0.3, rng)
    changed = benchmark.Trace("x", np.r_[of.seen[:20], 100 * of.seen[20:]], of.learnt)
    for window in benchmark.WINDOWS.values():
        assert benchmark.opened(window, of)[:21] == benchmark.opened(window, changed)[:21]


def test_every_shape_is_drawn_alike_by_anyone_and_learns_all(benchmark):
    for shape in benchmark.SHAPES:
        one, same = (benchmark.draw(shape, 0.3, np.random.default_rng(1)) for _ in range(2))
        assert np.array_equal(one.seen, same.seen)
        assert one.learnt.sum() == pytest.approx(1)
        assert one.seen.min() > 0


def test_what_is_seen_without_noise_is_learning_over_a_floor(benchmark):
    of = benchmark.draw("rises, then falls", 0.0, np.random.default_rng(0))
    np.testing.assert_allclose(of.seen - 0.05, of.learnt / of.learnt.max())


def test_the_committed_results_are_those_of_today_s_windows(benchmark):
    kept = json.loads((ROOT / "benchmarks/results/windows.json").read_text())
    assert kept["traces"] >= 200
    assert json.loads(json.dumps(benchmark.measure(kept["per noise"]))) == kept["shapes"]


def test_the_program_prints_json_and_a_line_per_window(tmp_path):
    process = run_program(ROOT / "benchmarks" / "windows.py", "--quick", cwd=tmp_path)
    assert json.loads(process.stdout)["traces"] == 4 * 13
    assert process.stderr.count(" of 52\n") == 4
