import numpy as np
import pytest

from inforeg_lightning.report import embedding_plots, load_runs, summarise
from inforeg_lightning.report.embeddings import CLASS_COLOURS, _class_style, project


def _keep(folder, scale=1.0, classes=3):
    rng = np.random.default_rng(0)
    label = np.arange(30) % classes
    values = scale * (10 * np.eye(classes, 6)[label] + rng.normal(size=(30, 6)))
    names = [f"class {index}" for index in range(classes)]
    features = {f"feature_{m}": values.astype(np.float16) for m in ("audio", "image")}
    np.savez(folder / "features.npz", label=label, class_names=names, **features)


def _summary(runs):
    return summarise(load_runs([runs])[0])[0]


def test_a_row_an_encoder_and_a_column_a_method(write_run, runs):
    for method in ("none", "inforeg"):
        for seed in (1, 2):
            _keep(write_run(method, seed, 0.5))
    _keep(write_run("none", 0, 0.5))
    (plot,) = embedding_plots(_summary(runs))
    assert plot.title.endswith("seed 1")  # the least that both have
    assert "30 test samples" in plot.caption
    figure = plot.draw()
    assert [panel.get_title() for panel in figure.axes[:2]] == ["Joint training", "inforeg"]
    assert all(len(panel.collections) == 3 for panel in figure.axes)
    assert figure.axes[0].get_xlabel() == "probe 50.0 %"
    assert [text.get_text() for text in figure.legends[0].texts] == [
        "class 0",
        "class 1",
        "class 2",
    ]


@pytest.mark.parametrize("scale", [0.0, np.inf])
def test_a_dead_encoder_is_said_to_be_one(write_run, runs, scale):
    with np.errstate(invalid="ignore"):
        _keep(write_run("none", 0, 0.5), scale)
    (plot,) = embedding_plots(_summary(runs))
    assert "features all equal" in plot.draw().axes[0].texts[0].get_text()


def test_runs_without_features_have_no_figure_and_one_among_others_says_so(write_run, runs):
    folder = write_run("none", 0, 0.5)
    assert embedding_plots(_summary(runs)) == []
    write_run("inforeg", 0, 0.5)
    _keep(folder)
    (plot,) = embedding_plots(_summary(runs))
    assert plot.draw().axes[1].texts[0].get_text() == "no features kept"


def test_clusters_stay_apart_and_a_second_time_is_the_same():
    label = np.arange(60) % 2
    values = 20.0 * label[:, None] + np.random.default_rng(1).normal(size=(60, 5))
    points = project(values)
    centres = [points[label == index].mean(0) for index in (0, 1)]
    spread = max(points[label == index].std(0).max() for index in (0, 1))
    assert np.linalg.norm(centres[0] - centres[1]) > 3 * spread
    assert np.array_equal(points, project(values))


def test_thirty_one_classes_are_told_apart():
    assert len({_class_style(index) for index in range(31)}) == 31
    assert _class_style(len(CLASS_COLOURS))[0] == _class_style(0)[0]
