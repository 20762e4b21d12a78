"""The one table: from runs or from a file of an earlier report, and as Markdown."""

import json

import pytest

from inforeg_lightning.report import load_runs, read_tables, summarise, tables, write_report
from inforeg_lightning.report.tables import in_markdown


@pytest.fixture
def summary(write_run, runs):
    for seed in range(2):
        write_run("none", seed, 0.5)
        write_run("inforeg", seed, 0.6, title="a | b <i>")
    return summarise(load_runs([runs])[0])[0]


def test_there_is_a_table_per_checkpoint_and_a_row_per_method(summary):
    last, best = tables(summary)
    assert (last.caption, best.caption) == (
        "Test accuracy in %, last epoch",
        "Test accuracy in %, best epoch on validation",
    )
    assert [(row.title, row.seeds) for row in last.rows] == [
        ("Joint training", 2),
        ("a | b <i>", 2),
    ]
    assert (last.rows[1].cells[0].value, last.rows[1].cells[0].difference) == (
        "60.0 ± 0.0",
        "+10.0 ± 0.0",
    )


def test_a_title_is_neither_markup_nor_the_end_of_a_cell(summary):
    line = tables(summary)[0].markdown().splitlines()[3]
    assert line.startswith(r"| a \| b &lt;i> | 60.0 ± 0.0 (+10.0 ± 0.0) |")
    assert in_markdown("a\nb\\") == "a b\\\\"


def test_tables_are_read_back_as_they_were_written(summary, tmp_path):
    write_report([summary], [], tmp_path)
    assert read_tables(tmp_path / "result.json") == tables(summary)


def test_the_validation_accuracies_are_kept_beside_them(summary):
    method = summary.to_dict()["methods"][1]
    assert method["validation"] == {"last": {0: 0.6, 1: 0.6}, "best": {0: 0.6, 1: 0.6}}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"experiments": [1]}', '{"experiments": {"a": {}}}', "[" * 100_000, "\udcff"],
)
def test_a_file_without_tables_is_an_error_that_names_it(tmp_path, content):
    (tmp_path / "x.json").write_text(content, errors="surrogateescape")
    with pytest.raises(ValueError, match=r"x\.json does not hold the tables of a report"):
        read_tables(tmp_path / "x.json")


def test_a_method_that_lacks_a_quantity_has_a_dash(tmp_path):
    cell = {"mean": 0.5, "low": None, "high": None, "n": 1, "difference": None}
    methods = [
        {"title": "both", "seeds": [0], "last": {"accuracy": cell, "accuracy_audio": cell}},
        {"title": "one", "seeds": [0], "last": {"accuracy": cell}},
    ]
    content = {"experiments": {"toy": {"methods": methods}}}
    (tmp_path / "x.json").write_text(json.dumps(content))
    (table,) = read_tables(tmp_path / "x.json")
    assert table.columns == ("fused", "audio, head")
    assert [cell.value for cell in table.rows[1].cells] == ["50.0", "–"]
