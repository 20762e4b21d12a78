"""What people read: links lead somewhere, lines fit a screen, and the version is one."""

import json
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST = 159
"""Characters in a line: a diff of a longer one cannot be read beside its neighbour."""


def documents():
    """Every Markdown file of the project; environments, caches and runs are no part of it."""
    for path in sorted(ROOT.rglob("*.md")):
        folders = path.relative_to(ROOT).parts[:-1]
        if folders[:1] in (("runs",), ("multirun",)):  # what `make demo` left
            continue
        if not any(name.startswith(".") and name != ".github" for name in folders):
            yield path


DOCUMENTS = list(documents())


def named(path):
    return str(path.relative_to(ROOT))


def too_long(text):
    lines = enumerate(text.splitlines(), start=1)
    return [f"line {number} has {len(line)}" for number, line in lines if len(line) > LONGEST]


def dead(text, folder):
    targets = re.findall(r"\]\(([^)#\s]+)", text) + re.findall(
        r"^\[[^\]]+\]:\s+(\S+)", text, flags=re.MULTILINE
    )
    return [t for t in targets if not t.startswith("http") and not (folder / t).exists()]


def test_the_documents_are_found():
    assert {"README.md", "CONTRIBUTING.md", "docs/data.md"} <= {named(path) for path in DOCUMENTS}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_no_line_is_too_long_to_read(document):
    assert too_long(document.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_links_lead_to_files(document):
    assert dead(document.read_text(encoding="utf-8"), document.parent) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_tests_that_are_named_are_there(document):
    for path in re.findall(r"`(tests/[\w/.]+)", document.read_text(encoding="utf-8")):
        if "sit_out" not in path:  # the guide's example, which is there for whoever follows it
            assert (ROOT / path).exists(), path


def test_a_long_line_and_a_dead_link_are_found(tmp_path):
    assert too_long("short\n" + "ü" * 160) == ["line 2 has 160"]
    text = "[a](gone.md) [b](https://example.org) [c](#here) [d][e]\n\n[e]: missing.md\n"
    assert dead(text, tmp_path) == ["gone.md", "missing.md"]


def test_the_citation_has_the_version_of_the_package():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert re.findall(r"^version: (.*)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE) == [
        version
    ]


def test_the_make_targets_that_are_named_exist():
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named_targets = set()
    for path in [*DOCUMENTS, ROOT / ".ci/run", ROOT / ".pre-commit-config.yaml"]:
        named_targets |= set(re.findall(r"(?:`|^\s*|\$ )make ([a-z-]+)", path.read_text(), re.M))
    assert {"lint", "test"} <= named_targets <= targets


def test_the_attacks_are_those_of_their_file():
    found = json.loads((ROOT / "benchmarks/results/attacks.json").read_text())
    text = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")
    rows = {
        cells[0]: [int(cell.replace(",", "")) for cell in cells[1:]]
        for line in text.splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 7
        and cells[1][:1].isdigit()
    }
    columns = ("tried", "refused", "survived", "lost", "wrong", "traceback")
    families = {**found["families"], "all": found["all"]}
    assert rows == {name: [of[column] for column in columns] for name, of in families.items()}
    for name in found["families"]:
        assert f"- **{name}**" in text
