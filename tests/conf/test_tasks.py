"""Every task, from the configuration to the tables of a report, on one batch of each split."""

import json
import math

import pytest

from inforeg_lightning.models import TASKS
from inforeg_lightning.report import (
    load_runs,
    markdown,
    read_tables,
    summarise,
    tables,
    write_report,
)
from inforeg_lightning.report.measures import measure

# Lightning 2.6 on newer torch.
pytestmark = pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning")

RECIPES = {
    "classes": (),
    "binary": ("task=binary", "data.num_classes=2"),
    "multilabel": ("task=multilabel",),
    "ordinal": ("task=ordinal",),
    "regression": ("task=regression", "data.num_classes=1"),
    "tokens": ("experiment=synthetic_tokens",),
    "pixels": ("experiment=synthetic_pixels",),
}
METRICS = {
    "binary": ["auroc", "f1"],
    "multilabel": ["macro_f1", "average_precision"],
    "ordinal": ["accuracy", "kappa"],
    "regression": ["rmse", "correlation"],
    "tokens": [],
    "pixels": ["accuracy"],
}


def train(composed, folder, *overrides):
    from running.checks import check
    from running.compose import Place
    from running.training import run

    few = [f"+trainer.limit_{part}_batches=1" for part in ("train", "val", "test")]
    recipe = () if any("experiment=" in o for o in overrides) else ("experiment=synthetic",)
    cfg = composed(*recipe, *overrides, *few, "trainer.max_epochs=1", "data.batch_size=32")
    check(cfg)
    return run(cfg, Place(folder, (), ""), [])


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    """The result of a task's run, and the folder of its runs, trained once."""
    made = {}

    def of(composed, task):
        if task not in made:
            runs = tmp_path_factory.mktemp(task)
            made[task] = (train(composed, runs / "seed=0", *RECIPES[task]), runs)
        return made[task]

    return of


def test_every_task_is_tried():
    assert set(RECIPES) == set(TASKS)


@pytest.mark.parametrize("task", RECIPES)
def test_every_task_trains_and_its_metrics_reach_the_result(composed, result, task):
    found, folder = result(composed, task)
    metric = TASKS[task].metric
    test = found["last"]["test"]
    heads = [f"{metric}_{m}" for m in found["modalities"]]
    assert {"loss", metric, *heads, *METRICS.get(task, [])} <= set(test)
    assert all(math.isfinite(test[name]) for name in (metric, *heads))
    assert set(found["last"]["probe"]) == set(found["modalities"])
    assert found.get("metric", "accuracy") == metric
    assert found.get("metrics", []) == METRICS.get(task, [])
    history = json.loads((folder / "seed=0" / "history.json").read_text())
    assert all(math.isfinite(value) for value in history[0]["score"].values())


@pytest.mark.parametrize("task", RECIPES)
def test_the_report_names_the_metric_and_which_way_is_better(composed, result, task, tmp_path):
    found, folder = result(composed, task)
    (run,), unreadable = load_runs([folder])
    assert not unreadable
    (summary,) = summarise([run], baseline="inforeg,beta=0.9,K=0.04")
    text = markdown(summary)
    lower = task in ("ordinal", "regression")
    caption = {
        "ordinal": "Test MAE (lower is better), last epoch",
        "regression": "Test MAE (lower is better), last epoch",
        "pixels": "Test mean IoU in %, last epoch",
    }.get(task, "Test accuracy in %, last epoch")
    assert text.count(f"{caption}:") == 1
    assert ("Lower is better: a negative difference is a gain." in text) is lower
    value = found["last"]["test"][TASKS[task].metric]
    assert (f"| {value:.3f} |" if lower else f"| {100 * value:.1f} |") in text
    page = write_report([summary], [], tmp_path / "report")
    read = read_tables(page.with_name("result.json"))
    assert [table.markdown() for table in read] == [table.markdown() for table in tables(summary)]
    shown = page.read_text()
    assert ("Lower is better." in shown) is lower
    assert f"Validation {measure(summary.metric).title} by epoch" in shown


@pytest.mark.parametrize("task", RECIPES)
def test_samples_without_a_modality_train_and_count_where_they_are(composed, task, tmp_path):
    found = train(composed, tmp_path / "run", *RECIPES[task], "data.gaps=0.4")
    assert all(math.isfinite(value) for value in found["last"]["probe"].values())
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert all(value is not None for value in history[0]["score"].values())


def test_what_measures_accuracies_of_classes_alone_says_so(composed, result, tmp_path):
    from running.diagnosing import run
    from running.errors import RecipeError
    from running.missing import evaluate_run

    _, folder = result(composed, "regression")
    (loaded,), _ = load_runs([folder])
    with pytest.raises(RecipeError, match="accuracy by subset is of classes, and its task is reg"):
        evaluate_run(loaded)
    with pytest.raises(RecipeError, match=r"accuracies of classes, and model\.task is reg"):
        run(composed("experiment=synthetic", *RECIPES["regression"]), [])


def test_the_best_epoch_of_an_error_is_the_least(composed, tmp_path):
    from running.compose import Place
    from running.training import run

    cfg = composed("experiment=synthetic", *RECIPES["regression"], "trainer.max_epochs=3")
    found = run(cfg, Place(tmp_path / "run", (), ""), [])
    rows = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    column = rows[0].split(",").index("val/mae")
    curve = [float(row.split(",")[column]) for row in rows[1:] if row.split(",")[column]]
    assert found["best"]["epoch"] == curve.index(min(curve))
    assert found["best"]["val"]["mae"] == pytest.approx(min(curve))


def test_an_epoch_tells_of_the_metric_of_the_task(composed, tmp_path, capsys):
    from running.compose import Place
    from running.progress import Epoch, epoch_of_line
    from running.training import run

    cfg = composed("experiment=synthetic", *RECIPES["regression"], "trainer.max_epochs=1")
    found = run(cfg, Place(tmp_path / "run", (), ""))
    lines = capsys.readouterr().out.splitlines()
    (told,) = filter(None, map(epoch_of_line, lines))
    assert told == Epoch(1, 1, pytest.approx(found["last"]["val"]["mae"], abs=1e-3), "mae")
    assert any("test MAE (lower is better):" in line for line in lines)


@pytest.mark.parametrize("task", ["binary", "ordinal", "regression", "pixels"])
def test_modality_dropout_takes_every_task_and_gaps(composed, task, tmp_path):
    dropout = ("callbacks=modality_dropout", "data.gaps=0.3")
    found = train(composed, tmp_path / "run", *RECIPES[task], *dropout)
    assert found["method"].startswith("modality_dropout")
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert all(math.isfinite(value) for value in history[0]["score"].values())


def test_a_method_that_measures_classes_says_so_before_the_first_step(composed, tmp_path):
    from running.compose import Place
    from running.errors import RecipeError
    from running.training import run

    cfg = composed("experiment=synthetic", *RECIPES["regression"], "callbacks=ogm")
    with pytest.raises(RecipeError, match=r"cannot begin: .* needs \(B, C\) with two or more"):
        run(cfg, Place(tmp_path / "run", (), ""), [])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+model.task=colours", "data.task=classes"], "task must be one of classes, .*'colours'"),
        (["task=binary", "+model.macro_f1=true"], "macro_f1 is of task='classes'"),
        (["task=tokens"], "task='tokens' needs the same places in every modality"),
        (["experiment=synthetic_pixels", "fusion=sum"], "has no fusion but concatenation"),
        (["task=ordinal", "model.num_classes=1"], "num_classes must be at least 2, got 1"),
    ],
)
def test_a_wrong_task_is_one_clear_error(composed, overrides, message):
    from running.checks import check
    from running.errors import RecipeError

    recipe = () if "experiment=" in overrides[0] else ("experiment=synthetic",)
    with pytest.raises(RecipeError, match=message):
        check(composed(*recipe, *overrides))
