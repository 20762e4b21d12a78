"""A file imports from its own storey and those below, in no circle; no class is deep."""

import ast
import importlib
import pkgutil
from pathlib import Path

import pytest

import inforeg_lightning

ROOT = Path(inforeg_lightning.__file__).parent
NAME = "inforeg_lightning"
STOREYS = {
    "core": 1,
    "methods": 2,
    "engine": 2,
    "callbacks": 3,
    "integrations": 3,
    "diagnosis": 3,
    "models": 3,
    "data": 3,
    "metrics": 3,
    "report": 4,
}


def modules():
    """Every module's dotted name -> its file."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        found[".".join((NAME, *parts))] = path
    return found


def imports(path, known):
    """The modules of ours that a file names in an import, wherever in it; the deepest each."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(NAME):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in known else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name.startswith(NAME))


def room(module):
    return module.split(".")[1] if "." in module else ""


def test_every_room_has_a_storey():
    rooms = {room(module) for module in modules()} - {"", "_espeak_worker"}
    assert rooms <= set(STOREYS), rooms - set(STOREYS)


@pytest.mark.parametrize("module", [m for m in modules() if m != NAME])
def test_a_file_imports_from_its_own_storey_or_below(module):
    known = modules()
    for other in imports(known[module], known):
        if other == NAME:
            continue
        assert STOREYS[room(other)] <= STOREYS[room(module)], f"{module} imports {other}"
        if room(module) == "engine":
            assert room(other) != "methods", f"{module} imports {other}: the engine knows no method"
        if room(module) in ("methods", "engine", "core"):
            assert room(other) in ("methods", "engine", "core")


def test_there_is_no_circle_of_imports():
    known = modules()
    # A package's face imports its parts, and these may import the package's name on the way in.
    edges = {m: {o for o in imports(p, known) if o != m} for m, p in known.items() if m != NAME}
    done, path = set(), []

    def walk(module):
        if module in path:
            pytest.fail(" -> ".join([*path[path.index(module) :], module]))
        if module in done or module not in edges:
            return
        path.append(module)
        for other in sorted(edges[module]):
            walk(other)
        path.pop()
        done.add(module)

    for module in edges:
        walk(module)


def test_no_class_is_more_than_two_levels_below_a_framework():
    deep = []
    for info in pkgutil.walk_packages(inforeg_lightning.__path__, f"{NAME}."):
        if info.name.rpartition(".")[2].startswith("_espeak"):
            continue
        module = importlib.import_module(info.name)
        for cls in vars(module).values():
            if isinstance(cls, type) and cls.__module__ == info.name:
                ours = [base for base in cls.__mro__ if base.__module__.startswith(NAME)]
                theirs = [b for b in cls.__mro__ if not b.__module__.startswith(NAME)]
                if len(theirs) > 1 and len(ours) > 2:  # `object` alone is no framework
                    deep.append((cls.__qualname__, [base.__name__ for base in ours]))
    assert not deep, deep
