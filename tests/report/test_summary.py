import pytest

from inforeg_lightning.report import load_runs, markdown, summarise


@pytest.fixture
def summary(write_run, runs):
    """Joint 0.5, 0.6, 0.7 and a method 0.1, 0.2 and 0.3 better."""
    for seed in range(3):
        write_run("none", seed, 0.5 + 0.1 * seed)
        write_run("inforeg", seed, 0.6 + 0.2 * seed)
    return _only(runs)


def _only(runs, **settings):
    (found,) = summarise(load_runs([runs])[0], **settings)
    return found


def test_baseline_stands_first(summary):
    assert [group.title for group in summary.groups] == ["Joint training", "inforeg"]
    assert summary.quantities[0] == "accuracy"
    assert set(summary.quantities[1:]) == {
        "accuracy_audio",
        "accuracy_image",
        "probe_audio",
        "probe_image",
        "imbalance",
    }


def test_means_and_paired_differences(summary):
    joint = summary.cells[0, "last", "accuracy"]
    assert joint.value.mean == pytest.approx(0.6)
    assert joint.value.half_width == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)
    assert joint.difference is None
    method = summary.cells[1, "last", "accuracy"]
    assert method.value.mean == pytest.approx(0.8)
    assert method.difference.mean == pytest.approx(0.2)
    # by seed 0.1, 0.2, 0.3: narrower than the difference of the means would be
    assert method.difference.half_width == pytest.approx(4.3027 * 0.1 / 3**0.5, rel=1e-4)


def test_markdown_has_the_numbers(summary):
    text = markdown(summary)
    assert "| Joint training | 60.0 ± 24.8 |" in text
    assert "| inforeg | 80.0 ± 49.7 (+20.0 ± 24.8) |" in text
    assert text.count("| inforeg |") == 2  # last epoch, best epoch
    assert summary.notes == ()


def test_plain_data_for_json(summary):
    content = summary.to_dict()
    entry = content["methods"][1]
    assert (entry["method"], entry["seeds"], entry["epochs"]) == ("inforeg", [0, 1, 2], 3)
    assert entry["last"]["accuracy"]["n"] == 3
    assert entry["last"]["accuracy"]["difference"]["mean"] == pytest.approx(0.2)
    assert content["methods"][0]["last"]["accuracy"]["difference"] is None


def test_one_seed_has_no_interval_and_says_so(write_run, runs):
    write_run("none", 0, 0.5)
    write_run("inforeg", 0, 0.6)
    summary = _only(runs)
    assert "| inforeg | 60.0 (+10.0) |" in markdown(summary)
    assert any(note.startswith("One seed only, so no interval") for note in summary.notes)


def test_a_variant_is_compared_with_the_same_variant(write_run, runs):
    write_run("none", 0, 0.5)
    write_run("none", 0, 0.9, variant="model.lr=1")
    write_run("inforeg", 0, 0.8, variant="model.lr=1")
    summary = _only(runs)
    titles = [group.title for group in summary.groups]
    cell = summary.cells[titles.index("inforeg [model.lr=1]"), "last", "accuracy"]
    assert cell.difference.mean == pytest.approx(-0.1)


def test_a_common_variant_is_said_once(write_run, runs):
    write_run("none", 0, 0.5, variant="model.lr=1")
    write_run("inforeg", 0, 0.5, variant="model.lr=1")
    summary = _only(runs)
    assert [group.title for group in summary.groups] == ["Joint training", "inforeg"]
    assert "All runs with model.lr=1." in summary.notes


def test_no_baseline_is_noted(write_run, runs):
    write_run("inforeg", 0, 0.5)
    summary = _only(runs)
    assert summary.cells[0, "last", "accuracy"].difference is None
    assert any("no baseline 'none'" in note for note in summary.notes)


def test_another_baseline_can_be_chosen(write_run, runs):
    write_run("inforeg", 0, 0.6)
    write_run("other", 0, 0.5)
    summary = _only(runs, baseline="inforeg")
    assert summary.cells[1, "last", "accuracy"].difference.mean == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"epochs": 9}, "epochs is 9, not 3"),
        ({"config": {"data": {"seed": 0, "sizes": [1]}}}, "data.sizes is [1], not None"),
        ({"config": {"data": {"seed": 0}, "model": {"lr": 0.2}}}, "model.lr is 0.2, not 0.1"),
        ({"versions": {"torch": "9"}}, "versions.torch is 9, not None"),
    ],
)
def test_settings_that_differ_are_noted(write_run, runs, changes, said):
    write_run("none", 0, 0.5)
    write_run("inforeg", 0, 0.5, **changes)
    assert any(said in note for note in _only(runs).notes)


def test_seeds_that_differ_are_noted(write_run, runs):
    write_run("none", 0, 0.5)
    write_run("none", 1, 0.5)
    write_run("inforeg", 1, 0.7)
    summary = _only(runs)
    assert summary.cells[1, "last", "accuracy"].difference.mean == pytest.approx(0.2)
    assert any("has the seeds 1, the baseline 0, 1" in note for note in summary.notes)


def test_imbalance_is_the_lead_of_the_best_head(summary):
    assert summary.cells[0, "last", "imbalance"].value.mean == pytest.approx(0.1)
    assert "| image, probe | imbalance | seeds |" in markdown(summary)


def test_a_single_modality_has_no_imbalance(write_run, runs):
    write_run("none", 0, 0.5, modalities=["audio"])
    (run,) = load_runs([runs])[0]
    assert run.value("last", "imbalance") is None
