"""What an import needs: the callback needs torch and Lightning only, and extras wait for use."""

import ast
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest

import inforeg_lightning
from inforeg_lightning.data.shards import Shards

ROOT = Path(inforeg_lightning.__file__).parent
LIGHTNINGS = {"lightning", "pytorch_lightning"}
OURS = {"inforeg_lightning", "typing_extensions"}  # torch itself needs the latter


def imported(path, *, at_the_top_only):
    tree = ast.parse(path.read_text())
    nodes = tree.body if at_the_top_only else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield node.module


def outside(folder, **kwargs):
    found = set()
    for path in [ROOT / folder] if folder.endswith(".py") else (ROOT / folder).rglob("*.py"):
        found |= {name.split(".")[0] for name in imported(path, **kwargs)}
    assert found, folder
    return found - sys.stdlib_module_names - OURS


def test_the_core_imports_torch_only():
    assert outside("core", at_the_top_only=False) == {"torch"}


def test_the_version_is_that_of_the_project():
    project = tomllib.loads((ROOT.parents[1] / "pyproject.toml").read_text())["project"]
    assert inforeg_lightning.__version__ == project["version"]


@pytest.mark.parametrize("folder", ["__init__.py", "callbacks", "methods", "engine"])
def test_the_callback_needs_torch_and_lightning_only(folder):
    assert outside(folder, at_the_top_only=True) <= {"torch", "lightning"}
    # In a function of it: who asks for tables, figures, clusters or UPGrad has the package for it.
    asked_for = {"engine": {"pandas", "matplotlib"}, "methods": {"sklearn", "torchjd"}}
    used = asked_for.get(folder, set())
    assert outside(folder, at_the_top_only=False) <= {"torch", *LIGHTNINGS, *used}


def test_pandas_and_matplotlib_are_of_the_summary_alone():
    for path in (ROOT / "engine").rglob("*.py"):
        if path != ROOT / "engine/summary.py":
            found = {name.split(".")[0] for name in imported(path, at_the_top_only=False)}
            assert not found & {"pandas", "matplotlib"}, path


def test_one_file_alone_knows_of_both_names_of_lightning():
    for path in ROOT.rglob("*.py"):
        for name in imported(path, at_the_top_only=False):
            if path != ROOT / "callbacks/_framework.py":
                assert not name.startswith("pytorch_lightning"), path
            assert not name.startswith("lightning") or name.startswith("lightning.pytorch"), path


@pytest.mark.parametrize("folder", ["models", "data", "data/shards"])
def test_what_extras_bring_is_imported_when_it_is_used(folder):
    assert outside(folder, at_the_top_only=True) <= {"torch", "lightning", "torchmetrics", "numpy"}


# Of data/, each above those before it. Shards are clips on disk, and bring an order for the loader.
ROOMS = ("store", "prepare", "loading", "digits")


def storey(module):
    """Room of a module of data/, by number; a data set is above all rooms."""
    room = module.split(".")[2]
    room = "loading" if room.startswith("shards") else room
    return ROOMS.index(room) if room in ROOMS else len(ROOMS)


def test_rooms_of_data_import_from_below_and_no_data_set_from_another():
    for path in (ROOT / "data").rglob("*.py"):
        name = ".".join(path.relative_to(ROOT.parent).with_suffix("").parts)
        if name == "inforeg_lightning.data.__init__":
            continue
        for other in imported(path, at_the_top_only=False):
            if other.startswith("inforeg_lightning"):
                assert other.startswith("inforeg_lightning.data."), path
                assert storey(other) <= min(storey(name), len(ROOMS) - 1), f"{path}: {other}"


def hide(monkeypatch, package):
    for name in [name for name in sys.modules if name.split(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


def test_without_torchvision_the_error_names_the_extra(monkeypatch):
    hide(monkeypatch, "torchvision")
    monkeypatch.delitem(sys.modules, "inforeg_lightning.models.resnet", raising=False)
    with pytest.raises(ImportError, match=r"inforeg-lightning\[models\]"):
        importlib.import_module("inforeg_lightning.models.resnet")


@pytest.mark.parametrize("package", ["sklearn", "espeakng_loader"])
def test_without_its_sources_av_digits_names_the_extra(package, monkeypatch, tmp_path):
    from inforeg_lightning.data import AVDigitsDataModule

    hide(monkeypatch, package)
    with pytest.raises(ImportError, match=r"inforeg-lightning\[data\]"):
        AVDigitsDataModule(root=tmp_path).prepare_data()


def test_without_webdataset_the_error_names_the_extra(monkeypatch, tmp_path):
    from inforeg_lightning.data.shards import write_shards
    from inforeg_lightning.data.store import StoreWriter

    with StoreWriter(tmp_path / "store", {}) as writer:
        writer.add("a", 0, np.zeros((1, 8, 8, 3), np.uint8), np.zeros((2, 2)))
    hide(monkeypatch, "webdataset")
    with pytest.raises(ImportError, match=r"inforeg-lightning\[streaming\]"):
        write_shards(tmp_path / "store", tmp_path / "shards")
    hide(monkeypatch, "fsspec")
    with pytest.raises(ImportError, match=r"inforeg-lightning\[streaming\]"):
        Shards("https://localhost/shards")


def test_shards_know_nothing_of_data_sets_or_of_how_they_are_loaded():
    for path in (ROOT / "data/shards").glob("*.py"):
        ours = {n for n in imported(path, at_the_top_only=False) if n.startswith("inforeg")}
        parts = {name.split(".")[2] for name in ours if name.count(".") > 1}
        # The sampler is one of those that data sets of a store know.
        allowed = {"loading"} if path.name == "_sampler.py" else set()
        assert parts <= {"shards", "store"} | allowed, path


GLOBAL_STATE = """
import logging, multiprocessing, signal, sys, warnings
import lightning.pytorch, torch
from lightning.pytorch.utilities.combined_loader import CombinedLoader

def state():
    return (
        list(warnings.filters), list(logging.root.handlers), logging.root.level,
        [signal.getsignal(number) for number in signal.valid_signals()],
        multiprocessing.get_start_method(allow_none=True), torch.get_num_threads(),
        torch.get_default_dtype(), torch.random.get_rng_state().tolist(), sys.excepthook,
        torch.utils.data.DataLoader.__iter__, CombinedLoader.__iter__,
    )

# From here on: what lightning itself imports may be deprecated by what it imports in turn.
warnings.simplefilter("error")
before = state()
import webdataset
sys.exit(state() != before)
"""


def test_webdataset_changes_nothing_when_it_is_imported():
    subprocess.run([sys.executable, "-c", GLOBAL_STATE], check=True)
