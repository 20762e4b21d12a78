"""Bad run folders beside good ones: the report must have the good ones, and list the bad ones.

Nothing that stands in a run folder may be HTML in the page, or a path that is written to.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from attacking import damage
from attacking.damage import Rng
from attacking.samples import Samples
from attacking.tally import Tally

DEFAULT = 500
_BATCH = 50
_MARK = "PLANTED"
_TEXTS = (
    f"<script>{_MARK}</script>", f"<img src=x onerror={_MARK}>", f"--><script>{_MARK}</script><!--",
    f'"><svg onload={_MARK}>', f"]]><script>{_MARK}</script>", f"'\"><b>{_MARK}", f"$x$ {_MARK}",
    "$",
    "$\\frac{", "${title}", "{{7*7}}", "{% raw %}", "../../planted", "/tmp/planted", "a/b", "..",
    "\x00",
    "\ud800", "x" * 100_000, "", "\n\n# heading", "| a | b |", "[x](javascript:1)", "_nolegend_",
)  # fmt: skip
_VALUES = (
    None, True, -1, 0, 2, 1.5, 1e308, 10**30, 10**4000, float("nan"), float("inf"), "", "0.5",
    [], {},
    [[]], [1], {"a": 1},
)  # fmt: skip
_FILES = ("result.json", "history.json", "metrics.csv", "features.npz", "config.yaml")


def attack(count: int, rng: Rng, samples: Samples, work: Path, tally: Tally) -> None:
    """Report on ``count`` bad folders, in several reports with four good ones each."""
    good = sorted(path.parent for path in samples.runs.rglob("result.json"))
    for first in range(0, count, _BATCH):
        folder = work / f"report{first}"
        for number, run in enumerate(good):
            shutil.copytree(run, folder / "runs" / "a_good" / str(number))
        ways = {}
        for number in range(first, min(first + _BATCH, count)):
            bad = folder / "runs" / "bad" / f"{number:05d}"
            shutil.copytree(good[number % len(good)], bad)
            _change(bad / "result.json", lambda meta: meta | {"seed": 100 + number})  # noqa: B023
            ways[bad] = _spoil(bad, rng)
        _report(folder, ways, len(good), tally)
        shutil.rmtree(work, ignore_errors=True)


def _report(folder: Path, ways: dict[Path, str], good: int, tally: Tally) -> None:
    from inforeg_lightning.report import load_runs, summarise, write_report

    before = _names(folder.parent)
    try:
        runs, unreadable = load_runs([folder / "runs"])
        page = write_report(summarise(runs, "none"), unreadable, folder / "out", "report.py")
        text = page.read_text(encoding="utf-8")
    except Exception as error:
        tally.add("traceback", f"no page: {type(error).__name__}: {error}; {sorted(ways.values())}")
        return
    read, listed = {run.folder for run in runs}, {bad.folder for bad in unreadable if bad.reason}
    if (kept := sum("a_good" in path.parts for path in read)) < good:
        tally.add("lost", f"{good - kept} good runs are not in the report: {unreadable}")
    for path, way in ways.items():
        if path in listed:
            tally.add("refused", way)
        elif path in read or "no trace of a run" in way:
            tally.add("survived", way)
        else:
            tally.add("lost", f"{way}: neither in the report nor listed")
    for markup in ("<script>" + _MARK, "<img src=x", "<svg onload", f"<b>{_MARK}"):
        if markup in text:
            tally.add("wrong", f"the page has {markup} from a run folder")
    if strange := {n for n in _names(folder.parent) - before if n.parts[:2] != _out(folder)}:
        tally.add("wrong", f"written outside the report: {strange}")


def _out(folder: Path) -> tuple[str, ...]:
    return (folder.name, "out")


def _names(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob("*")}


def _spoil(folder: Path, rng: Rng) -> str:
    way = str(rng.choice(list(_WAYS)))
    return f"{way}: {_WAYS[way](folder, rng)}"


def _change(path: Path, change: Callable[[Any], Any]) -> None:
    path.write_text(json.dumps(change(json.loads(path.read_text()))), errors="surrogatepass")


def _somewhere(content: Any, value: Any, rng: Rng) -> Any:
    """Put a value in the place of any other one."""
    node = content
    for _ in range(20):
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return value
        key = keys[int(rng.integers(len(keys)))]
        if not isinstance(node[key], dict | list) or rng.random() < 0.2:
            node[key] = value
            break
        node = node[key]
    return content


def _value(folder: Path, rng: Rng) -> str:
    name = str(rng.choice(["result.json", "result.json", "history.json"]))
    value = _VALUES[int(rng.integers(len(_VALUES)))]
    _change(folder / name, lambda content: _somewhere(content, value, rng))
    return f"{str(value)[:40]!r} in {name}"


def _text(folder: Path, rng: Rng) -> str:
    text = str(rng.choice(_TEXTS))
    key = str(rng.choice(["experiment", "method", "title", "variant", "modalities", "machine"]))
    inside = {"modalities": [text, "audio"], "machine": {"processor": text}}.get(key, text)
    _change(folder / "result.json", lambda meta: meta | {key: inside})
    return f"{text[:40]!r} as {key}"


def _key(folder: Path, rng: Rng) -> str:
    text = str(rng.choice(_TEXTS))
    _change(folder / "history.json", lambda h: [{**entry, text: {"audio": 1.0}} for entry in h])
    return f"{text[:40]!r} as a quantity of the history"


def _bytes(folder: Path, rng: Rng) -> str:
    path = folder / str(rng.choice(_FILES))
    if not path.exists() or not path.stat().st_size:
        return f"no trace of a run in {path.name}"
    way, content = damage.spoil(path.read_bytes(), rng)
    path.write_bytes(content)
    return f"{way} in {path.name}"


def _other_file(folder: Path, rng: Rng) -> str:
    path, way = folder / str(rng.choice(_FILES)), str(rng.choice(list(_INSTEAD)))
    path.unlink(missing_ok=True)
    _INSTEAD[way](path)
    return f"{way} instead of {path.name}"


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(3 * 10**9)  # sparse


_INSTEAD: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "a pipe": os.mkfifo,
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a link to itself": lambda path: path.symlink_to(path),
    "somebody's secrets": lambda path: path.symlink_to("/etc/passwd"),
    "3 GB of zeros": _huge,
    "deep JSON": lambda path: path.write_text("[" * 100_000),
    "a bomb of YAML": lambda path: path.write_text(
        "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"{c}: &{c} [*a,*a,*a]\n" for c in "bcdef")
    ),
}
_WAYS: dict[str, Callable[[Path, Rng], str]] = {
    "a value": _value,
    "a text": _text,
    "a key": _key,
    "bytes": _bytes,
    "another file": _other_file,
}
