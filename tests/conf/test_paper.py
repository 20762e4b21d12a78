import json
import sys

import numpy as np
import pytest

QUICK = ("experiment=synthetic", "trainer.max_epochs=1")


@pytest.fixture
def paper(monkeypatch):
    """The program as a module, as its own modules find it."""
    import paper

    return paper


@pytest.fixture(scope="module")
def table2(start, tmp_path_factory):
    """Table 2 over one seed: the folder it was made in, and the process."""
    cwd = tmp_path_factory.mktemp("paper")
    return cwd, start("paper.py", "table2", *QUICK, "--seeds", "0", cwd=cwd)


def _report(cwd, study):
    return cwd / "runs" / "paper" / "synthetic" / study


def test_table2_trains_both_over_seeds_and_ends_in_a_report_with_tsne(table2):
    cwd, process = table2
    assert "| Joint training |" in process.stdout
    report = _report(cwd, "table2")
    summary = json.loads((report / "result.json").read_text())
    methods = summary["experiments"]["synthetic"]["methods"]
    assert [(m["method"].split(",")[0], m["seeds"]) for m in methods] == [
        ("none", [0]),
        ("inforeg", [0]),
    ]
    assert summary["command"].startswith("python experiments/paper.py table2 experiment=synthetic")
    assert (report / "figures" / "synthetic_tsne.png").stat().st_size > 10_000
    assert "t-SNE of the encoders&#x27; features, seed 0" in (report / "report.html").read_text()


def test_the_features_of_the_test_set_are_kept_small(table2):
    cwd, _ = table2
    files = list((cwd / "runs" / "synthetic").rglob("features.npz"))
    assert len(files) == 2
    labels = []
    for file in files:
        with np.load(file) as kept:
            assert {name: kept[name].dtype for name in ("feature_audio", "feature_image")} == {
                "feature_audio": np.float16,
                "feature_image": np.float16,
            }
            assert len(kept["feature_audio"]) == len(kept["label"]) == 32
            assert kept["class_names"].tolist() == ["0", "1", "2", "3"]
            labels.append(kept["label"].tolist())
    assert all(label == labels[0] for label in labels)  # the same samples for every run


def test_runs_that_are_there_are_not_trained_again(table2, paper, monkeypatch, capsys):
    cwd, _ = table2
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(paper.subprocess, "run", lambda *_, **__: pytest.fail("trained"))
    monkeypatch.setattr(sys, "argv", ["paper.py", "table2", *QUICK, "--seeds", "0"])
    assert paper.main() == 0
    assert "2 runs, 2 of them there already" in capsys.readouterr().out


@pytest.mark.slow
def test_a_failed_run_is_named_and_the_others_are_reported(start, tmp_path):
    folder = tmp_path / "runs/synthetic/none/trainer.max_epochs=1"
    folder.mkdir(parents=True)
    (folder / "seed=0").write_text("a file where the run folder should go")
    arguments = (*QUICK, "--methods", "none", "--seeds", "0", "1")
    process = start("paper.py", "table2", *arguments, cwd=tmp_path, status=1)
    assert "failed: runs/synthetic/none/trainer.max_epochs=1/seed=0" in process.stderr
    assert (_report(tmp_path, "table2") / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiment=cremad"], "no prepared store at data/cremad"),
        ([*QUICK, "--methods", "nothing"], "callbacks/nothing"),
        ([*QUICK, "model.learning=1"], "learning"),
    ],
)
def test_what_cannot_run_is_one_error_before_training(
    paper, monkeypatch, tmp_path, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["paper.py", "table2", *arguments])
    assert paper.main() == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("experiment", "study", "runs"),
    [
        ("cremad", "table2", 2),
        ("cremad", "table3", 2),
        ("cremad", "table4", 4),
        ("cremad", "beta", 7),
        ("cremad", "K", 7),
        ("kinetics_sounds", "table2", 2),
        ("av_digits", "table4", 4),
    ],
)
def test_every_study_composes_as_different_runs(
    paper, monkeypatch, tmp_path, experiment, study, runs
):
    import checks

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(checks, "_check_data", lambda data: None)  # there are no stores here
    chosen = paper.STUDIES[study]
    name, jobs = paper._planned(
        chosen.jobs(chosen.methods, [0]), [f"experiment={experiment}", "runs=x"]
    )
    # Joint training has no parameter: it is one run, whatever the value.
    assert (name, len(jobs)) == (experiment, runs)
    methods = {job.folder.relative_to(f"x/{experiment}").parts[0] for job in jobs}
    if study in ("beta", "K"):
        index = {"beta": 1, "K": 2}[study]
        values = [method.split(",")[index].split("=")[1] for method in methods - {"none"}]
        assert sorted(map(float, values)) == list(chosen.values)
    assert "none" in methods
    assert all(
        ("model.unimodal_losses=true" in job.overrides) == (study == "table3") for job in jobs
    )


def test_the_published_values_are_searched(paper):
    assert paper.STUDIES["beta"].values == (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
    assert paper.STUDIES["K"].values == (0.01, 0.02, 0.04, 0.06, 0.08, 0.1)
