"""Which program imports what: nothing in a circle, and no program from another."""

import ast
from pathlib import Path

import pytest

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"
MODULES = {
    ".".join(path.relative_to(EXPERIMENTS).with_suffix("").parts).removesuffix(".__init__"): path
    for path in EXPERIMENTS.rglob("*.py")
}
PROGRAMS = {name for name in MODULES if "." not in name} - {"running", "studies"}


def imported(name):
    """The modules beside it that a module imports, wherever in the file."""
    for node in ast.walk(ast.parse(MODULES[name].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            yield node.module


def test_the_programs_are_few():
    assert {"train", "study", "report", "prepare", "shard"} <= PROGRAMS
    assert {"train", "study", "report", "prepare", "shard", "diagnose"} >= PROGRAMS


@pytest.mark.parametrize("name", sorted(set(MODULES) - PROGRAMS))
def test_what_programs_share_imports_no_program(name):
    assert not PROGRAMS & set(imported(name))


@pytest.mark.parametrize("name", sorted(MODULES))
def test_nothing_is_imported_in_a_circle(name):
    seen, waiting = set(), [*imported(name)]
    while waiting:
        module = waiting.pop()
        if module not in seen:
            seen.add(module)
            waiting += imported(module)
    assert name not in seen


@pytest.mark.parametrize("name", sorted(name for name in MODULES if name.startswith("studies.")))
def test_a_study_is_one_file_that_no_other_lists(name):
    others = [path.read_text(encoding="utf-8") for n, path in MODULES.items() if n != name]
    assert not any(name in text for text in others)
