import json
import re
from html.parser import HTMLParser

import pytest

from inforeg_lightning.report import Unreadable, load_runs, summarise, write_report
from inforeg_lightning.report.figures import MOST_GROUPS, choose, plots
from inforeg_lightning.report.style import BASELINE_COLOUR, style


class _Ids(HTMLParser):
    def __init__(self):
        super().__init__()
        self.ids = []

    def handle_starttag(self, tag, attrs):
        self.ids += [value for name, value in attrs if name == "id"]


@pytest.fixture
def summaries(write_run, runs):
    for seed in range(2):
        write_run("none", seed, 0.5)
        write_run("inforeg", seed, 0.6, title="<InfoReg> & more")
    return summarise(load_runs([runs])[0])


@pytest.fixture
def page(summaries, tmp_path):
    broken = [Unreadable(tmp_path / "lost", "unfinished: it has no result.json")]
    return write_report(
        summaries, broken, tmp_path / "out", "python experiments/report.py runs", ["A & B."]
    )


def test_page_needs_nothing_but_itself(page):
    text = page.read_text()
    for link in re.findall(r'(?:src|href)="([^"]*)"', text):
        assert link.startswith("#")
    assert "url(http" not in text
    assert "<script" not in text


def test_page_shows_everything(page):
    text = page.read_text()
    assert text.count("<svg") == 4
    assert "&lt;InfoReg&gt; &amp; more" in text
    assert "1 run folders are not in this report" in text
    assert "unfinished: it has no result.json" in text
    assert "python experiments/report.py runs" in text
    assert "+10.0 ± 0.0" in text
    assert "<p>A &amp; B.</p>" in text
    assert (page.parent / "report.md").read_text().startswith("A & B.\n\n## toy")


def test_ids_are_unique(page):
    parser = _Ids()
    parser.feed(page.read_text())
    assert len(parser.ids) == len(set(parser.ids)) > 0


def test_figures_and_data_lie_beside_the_page(page):
    names = {path.name for path in (page.parent / "figures").iterdir()}
    assert {"toy_traces.png", "toy_traces.svg", "toy_scores.svg"} <= names
    content = json.loads((page.parent / "result.json").read_text())
    assert content["experiments"]["toy"]["methods"][0]["method"] == "none"
    assert content["unreadable"][0]["reason"].startswith("unfinished")
    assert "| Joint training |" in (page.parent / "report.md").read_text()


def test_no_label_shows_the_source_of_a_formula(summaries):
    # Titles may hold a "$", so that nothing is typeset: a formatter must not count on it.
    with style():
        for plot in plots(summaries[0]):
            figure = plot.draw()
            figure.canvas.draw()
            for axes in figure.axes:
                labels = [*axes.get_xticklabels(), *axes.get_yticklabels()]
                assert not [t.get_text() for t in labels if "$" in t.get_text()], plot.name


def test_the_same_runs_give_the_same_page(page, summaries, tmp_path):
    again = write_report(summaries, [], tmp_path / "again", "x")
    first = (page.parent / "figures" / "toy_traces.svg").read_text()
    assert (again.parent / "figures" / "toy_traces.svg").read_text() == first


def test_the_figures_choose_by_validation_and_keep_the_baseline(write_run, runs):
    write_run("none", 0, 0.1)
    for index in range(5):
        accuracy = 0.2 + 0.1 * index
        folder = write_run(f"method{index}", 0, accuracy)
        # the better on validation, the worse on test
        content = json.loads((folder / "result.json").read_text())
        content["best"]["test"]["accuracy"] = content["last"]["test"]["accuracy"] = 1 - accuracy
        (folder / "result.json").write_text(json.dumps(content))
    (summary,) = summarise(load_runs([runs])[0])
    drawn = choose(summary)
    assert len(drawn.groups) == MOST_GROUPS
    assert [g.title for g in drawn.groups] == ["Joint training", "method2", "method3", "method4"]
    assert drawn.colours[0] == BASELINE_COLOUR
    assert len(set(drawn.colours)) == MOST_GROUPS


def test_runs_without_history_have_no_traces(write_run, runs):
    (write_run("none", 0, 0.5) / "history.json").unlink()
    (summary,) = summarise(load_runs([runs])[0])
    assert [plot.name for plot in plots(summary)] == ["test_accuracy", "accuracy_by_epoch"]


def test_a_report_among_its_runs_is_no_run(runs, summaries):
    before = load_runs([runs])
    write_report(summaries, [], runs / "report")
    assert load_runs([runs]) == before


def test_of_another_method_the_figures_show_its_own_quantity(write_run, runs):
    folder = write_run("ogm", 0, 0.6)
    history = json.loads((folder / "history.json").read_text())
    for entry in history:
        for name in ("gap", "alpha", "pull", "penalty"):
            del entry[name]
        entry["coefficient"] = {"audio": 0.9, "image": 1.0}
    (folder / "history.json").write_text(json.dumps(history))
    write_run("none", 0, 0.5)
    write_run("inforeg", 0, 0.5)
    (summary,) = summarise(load_runs([runs])[0])
    drawn = {plot.name: plot.draw() for plot in plots(summary)}
    labels = {axes.get_ylabel(): axes for axes in drawn["scores"].axes}
    assert {"strength α,\nwhere applied", "coefficient"} <= set(labels)
    shown = sorted(float(y) for line in labels["coefficient"].lines for y in line.get_ydata())
    assert shown == [0.9, 1.0]  # one epoch is in the window
