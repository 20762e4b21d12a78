"""No run folder, whatever it holds, costs the page of the others or becomes markup or a path."""

import json
import os
import random
import re
import warnings
import zipfile
from functools import partial

import numpy as np
import pytest

from inforeg_lightning.report import (
    FolderError,
    embedding_plots,
    figures,
    load_run,
    load_runs,
    markdown,
    summarise,
    sweep_plots,
    write_report,
)
from inforeg_lightning.report import folder as folder_module
from inforeg_lightning.report.style import style

SCRIPT = "<script>alert(1)</script>"


def change(name, path, value):
    """Set what lies at a path of a JSON file."""

    def apply(folder):
        content = json.loads((folder / name).read_text())
        node = content
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value
        (folder / name).write_text(json.dumps(content))

    return apply


def write(name, content):
    def apply(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_bytes(content)

    return apply


def link(name, target):
    def apply(folder):
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(target)

    return apply


def pipe(name):
    def apply(folder):
        (folder / name).unlink()
        os.mkfifo(folder / name)

    return apply


def grow(name, size):
    def apply(folder):
        with (folder / name).open("ab") as file:
            file.truncate(size)

    return apply


result = partial(change, "result.json")
history = partial(change, "history.json")
BROKEN = {
    "result is NaN": write("result.json", b"NaN"),
    "result is binary": write("result.json", bytes(range(256))),
    "result is empty": write("result.json", b""),
    "result is nested": write("result.json", b"[" * 100_000),
    "result is huge": grow("result.json", 2**40),
    "result is a pipe": pipe("result.json"),
    "result is a device": link("result.json", "/dev/zero"),
    "result is a loop": link("result.json", "result.json"),
    "result leads nowhere": link("result.json", "/nowhere/result.json"),
    "accuracy is NaN": result(["last", "test", "accuracy"], float("nan")),
    "accuracy is infinite": result(["best", "test", "accuracy"], float("inf")),
    "accuracy is text": result(["last", "test", "accuracy"], "0.5"),
    "accuracy is yes": result(["last", "test", "accuracy"], True),
    "accuracy is in percent": result(["last", "test", "accuracy"], 50.0),
    "accuracy has 400 digits": result(["last", "test", "accuracy"], 10**400),
    "probe is a list": result(["last", "probe", "audio"], [0.5]),
    "probe is none": result(["last", "probe"], None),
    "validation is text": result(["best", "val", "accuracy"], "high"),
    "last is a list": result(["last"], []),
    "seed is text": result(["seed"], "one"),
    "seed is negative": result(["seed"], -1),
    "epochs is a fraction": result(["epochs"], 1.5),
    "experiment is a path": result(["experiment"], "../../../tmp/x"),
    "experiment is absolute": result(["experiment"], "/etc/x"),
    "experiment is markup": result(["experiment"], SCRIPT),
    "experiment is long": result(["experiment"], "x" * 500),
    "experiment is nothing": result(["experiment"], ""),
    "title is a number": result(["title"], 3),
    "title has lines": result(["title"], "a\nb"),
    "title is half a character": result(["title"], "\ud800"),
    "method is a mapping": result(["method"], {}),
    "variant is a list": result(["variant"], ["x"]),
    "modalities is text": result(["modalities"], "audio"),
    "modalities is empty": result(["modalities"], []),
    "modalities repeats": result(["modalities"], ["audio", "audio"]),
    "modality is a path": result(["modalities"], ["../audio"]),
    "modalities are many": result(["modalities"], [f"m{i}" for i in range(1000)]),
    "machine is text": result(["machine"], "fast"),
    "versions is a list": result(["versions"], [1]),
    "seconds is text": result(["seconds", "total"], "long"),
    "config is a list": result(["config"], []),
    "diverged": result(["diverged"], "diverged: in epoch 2 of 3 the training loss is nan"),
    "diverged is a number": result(["diverged"], 3),
    "history is a mapping": write("history.json", b"{}"),
    "history holds numbers": write("history.json", b"[1, 2]"),
    "history is cut": write("history.json", b'[{"epoch": 0, "period": 0, "tra'),
    "period is text": history([1, "period"], "one"),
    "epoch is missing": history([1, "epoch"], None),
    "trace is text": history([1, "trace", "audio"], "large"),
    "score is a list": history([0, "score", "image"], [1]),
    "metrics is a folder": lambda folder: (
        (folder / "metrics.csv").unlink(),
        (folder / "metrics.csv").mkdir(),
    ),
    "metrics is binary": write("metrics.csv", bytes(range(256))),
    "metrics has a nul": write("metrics.csv", b"epoch,val/accuracy\n0,\x000.5\n"),
    "metrics has a long row": write("metrics.csv", b"epoch,val/accuracy\n0,0.5,0.5,0.5\n"),
    "metrics has a wild epoch": write("metrics.csv", b"epoch,val/accuracy\n99999999999,0.5\n"),
    "metrics has an open quote": write("metrics.csv", b'epoch,val/accuracy\n0,"0.5\n'),
}
HARMLESS = {
    "title is markup": result(["title"], SCRIPT),
    "title is a formula": result(["title"], r"$\frac{1$"),
    "title has a bar": result(["title"], "a | b"),
    "title is Greek and Chinese": result(["title"], "β 信息"),
    "variant is markup": result(["variant"], SCRIPT),
    "processor is markup": result(["machine"], {"processor": SCRIPT}),
    "version is markup": result(["versions"], {"torch": SCRIPT}),
    "config is deep": result(
        ["config"], {"callbacks": {"x": [1], "y": "beta", "z": {"beta": "x"}}}
    ),
    "callbacks is a list": result(["config"], {"callbacks": ["beta"]}),
    "data is long": result(["config"], {"data": {"x": "y" * 100_000}}),
    "no machine": result(["machine"], {}),
    "trace is NaN": history([1, "trace", "audio"], float("nan")),
    "trace is infinite": history([1, "trace", "audio"], float("inf")),
    "trace is huge": history([1, "trace", "audio"], 1e308),
    "alpha is negative": history([1, "alpha", "audio"], -1e9),
    "trace is of no modality": history([1, "trace"], {}),
    "score is no mapping": history([1, "score"], 3),
    "window is none": history([1, "in_window", "audio"], None),
    "history is empty": write("history.json", b"[]"),
    "period is far": history([1, "period"], 10**6),
    "loss is infinite": write(
        "metrics.csv", b"epoch,train/loss,val/accuracy\n0,inf,nan\n1,1,0.5\n"
    ),
    "metrics has its head only": write("metrics.csv", b"epoch,val/accuracy\n"),
    "metrics is empty": write("metrics.csv", b""),
    "features are no archive": write("features.npz", b"PK\x03\x04 and no more"),
    "features are text": write("features.npz", b"hello"),
    "features are a device": link("features.npz", "/dev/zero"),
}


def features(folder, **arrays):
    label = np.arange(20) % 2
    kept = {"label": label, "class_names": ["a", "b"], "feature_audio": np.ones((20, 4))} | arrays
    np.savez_compressed(folder / "features.npz", **kept)


FEATURES = {
    "label out of range": {"label": np.arange(20)},
    "label negative": {"label": -np.ones(20, int)},
    "label is text": {"label": np.array(["a"] * 20)},
    "label has two axes": {"label": np.zeros((20, 2), int)},
    "features of another length": {"feature_audio": np.ones((3, 4))},
    "features are a vector": {"feature_audio": np.ones(20)},
    "features are integers": {"feature_audio": np.ones((20, 4), int)},
    "features are objects": {"feature_audio": np.array([{}] * 20)},
    "names are markup": {"class_names": [SCRIPT, "b"]},
}


def drawn(summary):
    """Everything that is drawn of a summary, without the time that files take."""
    plots = embedding_plots(summary) + sweep_plots(summary, "beta") + figures.plots(summary)
    with warnings.catch_warnings(), style():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="Glyph")
        for plot in plots:
            plot.draw().draw_without_rendering()
    return {plot.name for plot in plots}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_folder_is_listed_with_its_reason(write_run, runs, how):
    write_run("none", 0, 0.5)
    folder = write_run("inforeg", 0, 0.6)
    BROKEN[how](folder)
    found, (problem,) = load_runs([runs])
    assert [run.result["method"] for run in found] == ["none"]
    assert problem.folder == folder
    assert 0 < len(problem.reason) < 400


def test_broken_folders_do_not_cost_the_page_of_the_others(write_run, runs, tmp_path):
    write_run("none", 0, 0.5)
    for index, damage in enumerate(BROKEN.values(), start=1):
        damage(write_run("none", index, 0.5))
    write_run("none", 999, 0.5, title=SCRIPT, machine={"processor": SCRIPT}, variant=SCRIPT)
    found, unreadable = load_runs([runs])
    page = write_report(summarise(found), unreadable, tmp_path / "out")
    text = page.read_text()
    assert (len(found), len(unreadable)) == (2, len(BROKEN))
    assert f"{len(BROKEN)} run folders are not in this report" in text
    assert "Joint training" in text
    assert text.count("&lt;script") > 3
    for name in ("report.html", "report.md", "figures/toy_traces.svg"):
        assert "<script" not in (tmp_path / "out" / name).read_text()
    assert {path.name for path in tmp_path.iterdir()} == {"runs", "out"}


@pytest.mark.parametrize("how", HARMLESS)
def test_an_odd_folder_is_reported_as_it_is(write_run, runs, how):
    features(write_run("none", 0, 0.5))
    folder = write_run("inforeg", 0, 0.6)
    HARMLESS[how](folder)
    found, unreadable = load_runs([runs])
    assert (len(found), unreadable) == (2, [])
    (summary,) = summarise(found)
    assert {"test_accuracy", "traces"} <= drawn(summary)
    assert all(line.count("|") == 9 for line in re.findall(r"^[|].*", unbarred(summary), re.M))


def unbarred(summary):
    return markdown(summary).replace(r"\|", "")


@pytest.mark.parametrize("how", FEATURES)
def test_features_that_cannot_be_drawn_cost_their_panel_only(write_run, runs, how):
    features(write_run("none", 0, 0.5))
    features(write_run("inforeg", 0, 0.6), **FEATURES[how])
    (summary,) = summarise(load_runs([runs])[0])
    assert "tsne" in drawn(summary)


def test_an_archive_that_unpacks_to_more_than_any_run_writes_is_not_unpacked(
    write_run, monkeypatch
):
    folder = write_run("none", 0, 0.5)
    features(folder, feature_audio=np.zeros((20, 100_000)))  # 16 MB, packed into some kB
    assert (folder / "features.npz").stat().st_size < 2**24
    assert load_run(folder).features() is not None
    with zipfile.ZipFile(folder / "features.npz", "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("more.npy", bytes(2**24))
    monkeypatch.setitem(folder_module._LARGEST, "features.npz", 5)
    with pytest.raises(FolderError, match="larger than any run's"):
        load_run(folder).features()


def test_a_linked_folder_is_read_once(write_run, runs):
    folder = write_run("none", 0, 0.5)
    (runs / "again").symlink_to(folder.parent, target_is_directory=True)
    found, unreadable = load_runs([runs, runs / "again"])
    assert len(found) == 1
    assert all("repeats" in problem.reason for problem in unreadable)


def test_a_thousand_damaged_files_cost_nothing(write_run, runs, tmp_path):
    """Bytes cut, flipped, repeated and inserted, seeded, in every file that is read."""
    draw = random.Random(0)
    write_run("none", 0, 0.5)
    folder = write_run("inforeg", 0, 0.6)
    features(folder)
    whole = {name: (folder / name).read_bytes() for name in os.listdir(folder)}
    names = ["result.json", "history.json", "metrics.csv", "features.npz"]
    listed = 0
    for _ in range(1000):
        name = draw.choice(names)
        (folder / name).write_bytes(damaged(whole[name], draw))
        found, unreadable = load_runs([runs])
        listed += len(unreadable)
        assert len(found) + len(unreadable) == 2
        for summary in summarise(found):
            markdown(summary)
            for plot in embedding_plots(summary):
                assert plot.caption
        (folder / name).write_bytes(whole[name])
    assert listed > 100


def damaged(content, draw):
    at = draw.randrange(len(content))
    kind = draw.randrange(4)
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + bytes([content[at] ^ 1 << draw.randrange(8)]) + content[at + 1 :]
    if kind == 2:
        return content[:at] + content[at:] * 2
    return content[:at] + draw.randbytes(draw.randrange(1, 9)) + content[at:]
