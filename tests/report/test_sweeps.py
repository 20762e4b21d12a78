import pytest

from inforeg_lightning.report import load_runs, summarise, sweep_plots, write_report
from inforeg_lightning.report.sweeps import LEAST_RANGE, _curves

VALUES = {0.1: 0.5, 0.5: 0.7, 1.0: 0.6}


def _config(**parameters):
    return {"callbacks": {"inforeg": {"_target_": "x", **parameters}}, "model": {"lr": 0.1}}


@pytest.fixture
def summary(write_run, runs):
    for seed in (0, 1):
        write_run("none", seed, 0.4)
        for beta, accuracy in VALUES.items():
            title = f"InfoReg (β {beta}, K 0.04)"
            config = _config(beta=beta, K=0.04)
            write_run(f"inforeg,beta={beta}", seed, accuracy, title=title, config=config)
    return summarise(load_runs([runs])[0])[0]


def test_the_line_goes_through_the_means_and_the_baseline_lies_level(summary):
    (plot,) = sweep_plots(summary, "beta")
    panels = plot.draw().axes
    assert [panel.get_title() for panel in panels] == ["Fused", "Audio, probe", "Image, probe"]
    data = [(list(line.get_xdata()), list(line.get_ydata())) for line in panels[0].lines]
    assert ([0.1, 0.5, 1.0], pytest.approx([50, 70, 60])) in data
    assert ([0, 1], pytest.approx([40, 40])) in data
    assert panels[0].get_xlabel() == "β"
    low, high = panels[1].get_ylim()
    assert high - low >= LEAST_RANGE


def test_a_curve_is_named_by_its_method_and_needs_two_values(summary):
    assert {title: [x for x, _ in curve] for title, curve in _curves(summary, "beta").items()} == {
        "InfoReg": [0.1, 0.5, 1.0]
    }
    assert sweep_plots(summary, "nothing") == []


def test_the_figure_stands_in_the_page(summary, tmp_path):
    more = [lambda of: sweep_plots(of, "beta")]
    page = write_report([summary], [], tmp_path / "out", more=more)
    assert "Test accuracy at the last epoch against β" in page.read_text()
    assert (tmp_path / "out" / "figures" / "toy_sweep_beta.svg").exists()
