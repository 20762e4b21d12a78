"""The studies: which runs each has, that they go on where they were, and what they end in."""

import json
import subprocess
import sys

import numpy as np
import pytest

from inforeg_lightning.report import read_tables

QUICK = ("experiment=synthetic", "trainer.max_epochs=1")
STUDIES = [
    "K",
    "auto_balance",
    "auto_balance_results",
    "auto_balance_worlds",
    "baselines",
    "beta",
    "calibration",
    "claims",
    "comparison",
    "demo",
    "map",
    "missing",
    "pretrained",
    "real_worlds",
    "scale",
    "signals",
    "strength",
    "suspicions",
    "sweep",
    "table2",
    "table3",
    "table4",
    "table5",
    "table6",
    "table7",
    "truth",
    "views",
]


@pytest.fixture
def program(monkeypatch, tmp_path):
    """Run ``study.py`` in this process, in a folder of its own."""
    import study

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["study.py", *arguments])
        return study.main()

    monkeypatch.chdir(tmp_path)
    return run


@pytest.fixture(scope="module")
def table2(start, tmp_path_factory):
    """Table 2 over one seed: the folder it was made in, and the process."""
    cwd = tmp_path_factory.mktemp("table2")
    return cwd, start("study.py", "table2", *QUICK, "--seeds", "0", "--workers", "2", cwd=cwd)


def report_of(cwd, study):
    return cwd / "runs" / "studies" / "synthetic" / study


def test_table2_trains_both_and_ends_in_a_report_with_tsne(table2):
    cwd, process = table2
    assert "| Joint training |" in process.stdout
    report = report_of(cwd, "table2")
    summary = json.loads((report / "result.json").read_text())
    methods = summary["experiments"]["synthetic"]["methods"]
    assert [(m["method"].split(",")[0], m["seeds"]) for m in methods] == [
        ("none", [0]),
        ("inforeg", [0]),
    ]
    assert summary["command"].startswith("python experiments/study.py table2 experiment=synthetic")
    assert (report / "figures" / "synthetic_tsne.png").stat().st_size > 10_000
    assert "t-SNE of the encoders&#39; features, seed 0" in (report / "report.html").read_text()


def test_the_tables_of_a_report_are_read_back_as_they_were(table2):
    cwd, process = table2
    found = read_tables(report_of(cwd, "table2") / "result.json")
    assert len(found) == 2
    assert all(table.markdown() in process.stdout for table in found)


def test_the_features_of_the_test_set_are_kept_small(table2):
    cwd, _ = table2
    files = list((cwd / "runs" / "synthetic").rglob("features.npz"))
    assert len(files) == 2
    labels = []
    for file in files:
        with np.load(file) as kept:
            assert {kept[name].dtype for name in ("feature_audio", "feature_image")} == {
                np.dtype(np.float16)
            }
            assert len(kept["feature_audio"]) == len(kept["label"]) == 32
            assert kept["class_names"].tolist() == ["0", "1", "2", "3"]
            labels.append(kept["label"].tolist())
    assert all(label == labels[0] for label in labels)  # the same samples for every run


def test_runs_that_are_there_are_not_trained_again(table2, program, monkeypatch, capsys):
    from running import conduct

    cwd, _ = table2
    monkeypatch.chdir(cwd)
    monkeypatch.setattr(conduct, "train_all", lambda *_: pytest.fail("trained"))
    assert program("table2", *QUICK, "--seeds", "0") == 0
    assert "2 runs, 2 of them there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["experiment=cremad"], "no prepared store at data/cremad"),
        ([*QUICK, "--methods", "nothing"], "callbacks=nothing: callbacks must be one of agm, "),
        ([*QUICK, "model.learning=1"], "learning"),
        ([*QUICK, "runs="], "runs must be a line of text that is not empty"),
        ([*QUICK, "rerun=maybe"], "rerun must be true or false, got 'maybe'"),
    ],
)
def test_what_cannot_run_is_one_error_before_training(
    program, tmp_path, capsys, arguments, message
):
    assert program("table2", *arguments) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "there is no study 'nothing'"),
        (["demo", "seed=3"], "a study takes --seeds, not seed="),
        (["demo", "callbacks=none"], "a study takes --methods, not callbacks="),
        (["demo", "--workers", "0"], "--workers must be at least 1, got 0"),
    ],
)
def test_a_wrong_command_is_one_sentence(program, capsys, arguments, message):
    with pytest.raises(SystemExit) as ending:
        program(*arguments)
    assert ending.value.code == 2
    assert message in capsys.readouterr().err


def test_a_wrong_name_prints_all_names(program, capsys):
    with pytest.raises(SystemExit):
        program("tabel2")
    said = capsys.readouterr().err
    assert all(f"\n  {name} " in said for name in STUDIES)


def test_the_studies_are_the_files():
    from running.study import names

    assert names() == STUDIES


@pytest.mark.parametrize(
    ("experiment", "study", "runs"),
    [
        ("cremad", "table2", 2),
        ("cremad", "table3", 2),
        ("cremad", "table4", 4),
        ("cremad", "beta", 7),
        ("cremad", "K", 7),
        ("violent_flows", "table2", 2),
        ("hateful_memes", "table2", 2),
        ("kinetics_sounds", "table2", 2),
        ("av_digits", "table4", 4),
        ("av_digits", "demo", 6),
        ("av_digits", "calibration", 3),
        ("av_digits", "auto_balance", 4),
    ],
)
def test_every_study_composes_as_different_runs(monkeypatch, experiment, study, runs):
    from running import conduct
    from running.study import load

    monkeypatch.setattr(conduct, "check", lambda cfg: None)  # there are no stores here
    chosen = load(study)
    overrides = (f"experiment={experiment}", "runs=x")
    asked = conduct.Asked(study, chosen, chosen.methods, (0,), overrides, None, 1, "")
    plan = conduct._planned(asked, chosen.jobs(chosen.methods, [0]))
    # Joint training has no parameter: it is one run, whatever the value.
    folders = {planned.folder for planned in plan.values()}
    methods = {folder.relative_to(f"x/{experiment}").parts[0] for folder in folders}
    assert (len(folders), "none" in methods) == (runs, True)
    if study in ("beta", "K"):
        index = {"beta": 1, "K": 2}[study]
        values = [method.split(",")[index].split("=")[1] for method in methods - {"none"}]
        assert (
            sorted(map(float, values))
            == {
                "beta": [0.1, 0.3, 0.5, 0.7, 0.9, 1.0],
                "K": [0.01, 0.02, 0.04, 0.06, 0.08, 0.1],
            }[study]
        )  # the paper's
    with_losses = {"table3": len(plan)}.get(study, 0)
    assert sum(p.cfg.model.unimodal_losses for p in plan.values()) == with_losses


def test_table7_averages_the_folds_seed_by_seed():
    from pathlib import Path

    from inforeg_lightning.report import Run, markdown
    from running.study import load

    study = load("table7")
    jobs = study.jobs(study.methods, [0, 1])
    assert len(jobs) == 2 * 2 * 6
    results = {}
    for place, job in enumerate(jobs):
        method, experiment = (o.partition("=")[2] for o in job.overrides[:2])
        fold = next((int(o[-1]) for o in job.overrides if "fold" in o), None)
        names = ["video", "flow"] if experiment == "violent_flows" else ["image", "text"]
        value = 0.5 + 0.01 * place if fold is None else 0.1 * fold + 0.05 * (method != "none")
        test = {"accuracy": value, **{f"accuracy_{m}": value / 2 for m in names}}
        part = {"val": test, "test": test, "probe": dict.fromkeys(names, 0.25)}
        results[job] = Run(
            Path("x"),
            {
                "experiment": experiment,
                "method": method,
                "title": {"none": "Joint training"}.get(method, "InfoReg"),
                "variant": "" if fold is None else f"data.fold={fold}",
                "seed": job.seed,
                "modalities": names,
                "epochs": 1,
                **dict.fromkeys(("last", "best"), part),
            },
        )
    memes, flows = study.tabulate([0, 1], results)
    assert (memes.experiment, flows.experiment) == ("hateful_memes", "violent_flows")
    # The mean of 0, 10, 20, 30 and 40 %, and 5 points more.
    assert flows.cells[0, "last", "accuracy"].value.mean == pytest.approx(0.2)
    assert flows.cells[1, "last", "accuracy"].difference.mean == pytest.approx(0.05)
    assert [group.seeds for group in flows.groups] == [(0, 1), (0, 1)]
    assert "| Joint training |" in markdown(flows)
    without = {job: run for job, run in results.items() if "data.fold=3" not in job.overrides[-1]}
    (alone,) = study.tabulate([0, 1], without)
    assert alone.experiment == "hateful_memes"  # no seed has all folds


def test_the_baselines_end_in_one_table(program, tmp_path, monkeypatch):
    """In three stages: the modalities alone, what begins from them, and their ensembles."""
    from running import conduct
    from running.compose import composed, place_of
    from running.runner import Event
    from running.training import run

    def train_here(tasks, workers, log):
        for index, task in enumerate(tasks):
            ((cfg, hydra),) = composed([task.overrides])
            run(cfg, place_of(cfg, hydra), [])
            yield Event(index, "done")

    monkeypatch.setattr(conduct, "train_all", train_here)
    assert program("baselines", *QUICK, "--seeds", "0") == 0
    report = (report_of(tmp_path, "baselines") / "report.md").read_text()
    rows = ["Joint training", "Audio alone", "Image alone", "Ensemble", "Ensemble, fitted"]
    rows += ["Unimodally pretrained encoders", "Unimodally pretrained encoders, frozen"]
    assert [report.count(f"| {row} |") for row in rows] == [2] * len(rows)  # of both checkpoints
    assert "there is no baseline" not in report
    (file,) = (tmp_path / "runs" / "synthetic" / "image_alone").rglob("result.json")
    result = json.loads(file.read_text())
    assert (result["modalities"], result["title"]) == (["image"], "Image alone")
    assert set(result["last"]["probe"]) == {"image"}


def test_a_failed_run_is_named_and_the_others_are_reported(start, tmp_path):
    folder = tmp_path / "runs/synthetic/none/trainer.max_epochs=1"
    folder.mkdir(parents=True)
    (folder / "seed=0").write_text("a file where the run folder should go")
    arguments = (*QUICK, "--methods", "none", "--seeds", "0", "1", "--workers", "1")
    process = start("study.py", "table2", *arguments, cwd=tmp_path, status=1)
    assert "failed: runs/synthetic/none/trainer.max_epochs=1/seed=0" in process.stdout
    assert "cannot be made a folder (File exists)" in process.stdout
    assert (report_of(tmp_path, "table2") / "report.html").exists()


@pytest.mark.slow
def test_a_run_on_two_processes_is_trained_and_told_of(start, tmp_path):
    two = ("trainer.devices=2", "trainer.accelerator=cpu", "trainer.strategy=ddp")
    arguments = ("table3", "experiment=synthetic", "trainer.max_epochs=10", *two)
    only = ("--methods", "none", "--seeds", "0", "--workers", "1")
    process = start("study.py", *arguments, *only, cwd=tmp_path)
    assert "Joint training, seed 0: epoch 10/10  val accuracy 0." in process.stdout
    assert "| Joint training |" in process.stdout


def test_a_study_that_is_under_way_is_not_begun_again(program, tmp_path, capsys):
    holder = (
        "from filelock import FileLock; import sys, time, pathlib; "
        "file = pathlib.Path(sys.argv[1]); file.parent.mkdir(parents=True); "
        "lock = FileLock(file); lock.acquire(); print(flush=True); time.sleep(600)"
    )
    file = tmp_path / "runs/studies/synthetic/demo/.seed=1.lock"
    with subprocess.Popen([sys.executable, "-c", holder, file], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        try:
            assert program("demo", *QUICK, "--seeds", "0", "1") == 1
        finally:
            process.kill()
    said = capsys.readouterr().err
    assert "another process carries out this study with seed 1; wait for its end" in said
    assert said.count("\n") == 1
