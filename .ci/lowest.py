"""Print the lower bound of every dependency as a constraint for pip; `make test-lowest` uses it.

    python .ci/lowest.py pyproject.toml > lowest.txt
    pip install -e '.[experiments]' --group dev -c lowest.txt

Read are the dependencies, all extras and the group ``dev``. A requirement without a lower bound
is an error: nobody could tell what it was tested with.
"""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version


def requirements(content: dict) -> Iterator[Requirement]:
    """Every requirement of a ``pyproject.toml`` but those on the project itself."""
    project = content["project"]
    lines = [*project["dependencies"], *content["dependency-groups"]["dev"]]
    for extra in project["optional-dependencies"].values():
        lines += extra
    for line in lines:
        requirement = Requirement(line)
        if canonicalize_name(requirement.name) != canonicalize_name(project["name"]):
            yield requirement


def lowest(requirement: Requirement) -> Version:
    """The version that a requirement names as its lower bound."""
    bounds = [Version(part.version) for part in requirement.specifier if part.operator == ">="]
    if len(bounds) != 1:
        raise SystemExit(f"pyproject.toml: {requirement} needs exactly one lower bound, as >=1.2")
    return bounds[0]


def main() -> None:
    """Print one constraint for each package; where several name it, the highest bound holds."""
    content = tomllib.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    found: dict[str, Version] = {}
    for requirement in requirements(content):
        name, bound = canonicalize_name(requirement.name), lowest(requirement)
        found[name] = max(bound, found.get(name, bound))
    for name, bound in sorted(found.items()):
        print(f"{name}=={bound}")


if __name__ == "__main__":
    main()
